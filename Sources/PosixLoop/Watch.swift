import Glibc

/// What a descriptor is, or should be, ready for.
package struct DescriptorEvents: OptionSet, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let readable = DescriptorEvents(rawValue: 1)
    package static let writable = DescriptorEvents(rawValue: 2)

    var pollEvents: Int16 {
        Int16(contains(.readable) ? POLLIN : 0) | Int16(contains(.writable) ? POLLOUT : 0)
    }

    /// An error or a hang-up makes a descriptor ready for both: whoever reads or writes next learns what happened.
    init(pollEvents events: Int16) {
        var readiness: DescriptorEvents = []
        if events & Int16(POLLIN | POLLERR | POLLHUP | POLLNVAL) != 0 { readiness.insert(.readable) }
        if events & Int16(POLLOUT | POLLERR | POLLHUP | POLLNVAL) != 0 { readiness.insert(.writable) }
        self = readiness
    }
}

/// A descriptor being watched by an ``EventLoop``. Belongs to the loop's thread.
package final class Watch {
    let descriptor: Int32
    /// None once cancelled: it may hold whoever holds the watch.
    private var handler: ((DescriptorEvents) -> Void)?
    private unowned let loop: EventLoop

    /// What is waited for; may be changed at any time.
    package var interest: DescriptorEvents {
        didSet { if interest != oldValue { loop.interestChanged() } }
    }

    init(descriptor: Int32, interest: DescriptorEvents, loop: EventLoop, handler: @escaping (DescriptorEvents) -> Void) {
        self.descriptor = descriptor
        self.interest = interest
        self.loop = loop
        self.handler = handler
    }

    /// Ends the watch; the handler is not called again. Cancelling twice does nothing.
    package func cancel() {
        guard let handler else { return }
        self.handler = nil
        loop.remove(self)
        // What it holds may go with it, and cancel once more.
        withExtendedLifetime(handler) {}
    }

    func fire(_ readiness: DescriptorEvents) { handler?(readiness) }
}

/// Something with a descriptor whose readiness cannot be read from the descriptor alone.
///
/// `ZMQ_FD` is edge-triggered: it says that something has changed, and `ZMQ_EVENTS` says what is so now
/// (zmq_getsockopt(3)). The loop asks ``isReady()`` before every sleep.
package protocol PollSource: AnyObject {
    /// Becomes readable when ``isReady()`` is worth asking again.
    var descriptor: Int32 { get }
    /// The descriptor is readable.
    func descriptorFired()
    func isReady() -> Bool
    /// Does a bounded amount of work; is called again if there is more.
    func dispatch()
}
