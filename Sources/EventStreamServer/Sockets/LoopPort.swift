package import EventStream
import Glibc
package import PosixLoop
import SwiftOverlayShims

/// Time, and turns of the thread.
package protocol LoopPort: AnyObject {
    var now: MonotonicTime { get }
    /// What the clock on the wall says.
    var wallClock: EventTimestamp { get }
    /// Calls `body` once, `delay` from now, unless it is cancelled before.
    @discardableResult
    func after(_ delay: Duration, _ body: @escaping () -> Void) -> any ScheduledCall
    /// Calls `body` in the next turn, not within this call.
    func soon(_ body: @escaping () -> Void)
}

package protocol ScheduledCall: AnyObject {
    /// Cancelling twice, or after the call, does nothing.
    func cancel()
}

/// The process's own loop.
package final class LoopLink: LoopPort {
    private let loop: EventLoop
    package init(_ loop: EventLoop) { self.loop = loop }
    package var now: MonotonicTime { .now }
    package var wallClock: EventTimestamp { .now }
    package func after(_ delay: Duration, _ body: @escaping () -> Void) -> any ScheduledCall { loop.schedule(after: delay, body) }
    package func soon(_ body: @escaping () -> Void) { loop.soon(body) }
}

extension Timer: ScheduledCall {}

extension EventTimestamp {
    /// What the clock on the wall says.
    package static var now: EventTimestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return EventTimestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }
}
