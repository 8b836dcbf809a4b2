import CGlibc
import Glibc
import Synchronization

/// One thread that waits for everything a process waits for, and runs the actors that own those things.
///
/// ZeroMQ sockets and libpq connections may be used by one thread only. An `EventLoop` is that thread: it sleeps in a
/// single `ppoll(2)` over every registered descriptor, the wake-up descriptor and the next timer. It is also a
/// `SerialExecutor`: an actor that names it as its executor runs on this thread, so the compiler checks what would
/// otherwise be a convention.
///
/// Everything but ``execute(_:)``, ``enqueue(_:)`` and ``stop()`` must be called on the loop's own thread.
///
/// `@unchecked Sendable`: what several threads touch is in `shared`, behind a mutex; the rest is touched by the loop's
/// thread alone, which ``assertOnLoop()`` checks in debug builds.
package final class EventLoop: SerialExecutor, @unchecked Sendable {
    private struct Shared {
        var jobs: [Work] = []
        var sleeping = false
        var stopping = false
        var hasEnded = false
    }

    private enum Work {
        case job(UnownedJob)
        case closure(@Sendable () -> Void)
    }

    private let shared = Mutex(Shared())
    /// A pipe: a byte written to the second end interrupts the sleep.
    private let wakeUp: (read: Int32, write: Int32)
    private let thread = Mutex<pthread_t?>(nil)

    private var watches: [Watch] = []
    private var sources: [any PollSource] = []
    private var timers = TimerQueue()
    private var pollDescriptors: [pollfd] = []
    private var descriptorsChanged = true

    /// Starts the thread.
    package init() {
        var ends: [Int32] = [-1, -1]
        precondition(pipe(&ends) == 0, "pipe: \(String(cString: strerror(errno)))")
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        wakeUp = (ends[0], ends[1])
        var handle = pthread_t()
        let status = pthread_create(
            &handle, nil,
            { argument in
                let loop = Unmanaged<EventLoop>.fromOpaque(argument!).takeRetainedValue()
                loop.thread.withLock { $0 = pthread_self() }
                loop.run()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        precondition(status == 0, "pthread_create: \(String(cString: strerror(status)))")
        pthread_detach(handle)
    }

    deinit {
        close(wakeUp.read)
        close(wakeUp.write)
    }

    // MARK: Any thread

    /// Runs a closure on the loop, soon; not at all once the loop has ended.
    package func execute(_ work: @escaping @Sendable () -> Void) { submit(.closure(work)) }

    package func enqueue(_ job: consuming ExecutorJob) { submit(.job(UnownedJob(job))) }

    package func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

    /// Ends the thread once the work already submitted has run. Watches and timers are dropped.
    package func stop() {
        shared.withLock { $0.stopping = true }
        wake()
    }

    private func submit(_ work: Work) {
        let mustWake = shared.withLock { shared in
            // Nobody would ever run it, nor let go of what it holds.
            guard !shared.hasEnded else { return false }
            shared.jobs.append(work)
            defer { shared.sleeping = false }
            return shared.sleeping
        }
        if mustWake { wake() }
    }

    private func wake() {
        // A full pipe wakes as well as one more byte would.
        var byte: UInt8 = 0
        _ = write(wakeUp.write, &byte, 1)
    }

    /// Whether the caller runs on the loop's thread.
    package var isOnLoop: Bool { thread.withLock { $0.map { pthread_equal($0, pthread_self()) != 0 } ?? false } }

    package func checkIsolated() { precondition(isOnLoop, "not on the event loop's thread") }
    package func isIsolatingCurrentContext() -> Bool? { isOnLoop }

    /// Traps unless on the loop's thread (debug builds only).
    @inline(__always) package func assertOnLoop() { assert(isOnLoop, "not on the event loop's thread") }

    // MARK: The loop's thread

    /// Calls `handler` whenever `descriptor` is ready, until the watch is cancelled.
    ///
    /// The descriptor is level-triggered. It must stay open until the watch is cancelled.
    package func watch(
        _ descriptor: Int32, for interest: DescriptorEvents, _ handler: @escaping (DescriptorEvents) -> Void
    ) -> Watch {
        assertOnLoop()
        let watch = Watch(descriptor: descriptor, interest: interest, loop: self, handler: handler)
        watches.append(watch)
        descriptorsChanged = true
        return watch
    }

    /// Adds a source that knows better than its descriptor whether there is something to do.
    package func add(_ source: any PollSource) {
        assertOnLoop()
        sources.append(source)
        descriptorsChanged = true
    }

    package func remove(_ source: any PollSource) {
        assertOnLoop()
        sources.removeAll { $0 === source }
        descriptorsChanged = true
    }

    /// Calls `handler` once, `delay` from now; not at all if the timer is cancelled before.
    @discardableResult
    package func schedule(after delay: Duration, _ handler: @escaping () -> Void) -> Timer {
        assertOnLoop()
        let timer = Timer(deadline: .now + delay, handler: handler)
        timers.insert(timer)
        return timer
    }

    func interestChanged() { descriptorsChanged = true }

    func remove(_ watch: Watch) {
        watches.removeAll { $0 === watch }
        descriptorsChanged = true
    }

    private func run() {
        while true {
            let busy = runJobs()
            let now = MonotonicInstant.now
            while let timer = timers.popDue(at: now) { timer.fire() }
            var dispatched = false
            for source in sources where source.isReady() {
                source.dispatch()
                dispatched = true
            }
            if !poll(block: !busy && !dispatched) { break }
        }
        // Their handlers may hold those who hold the loop, and those may want to remove them.
        let dropped = (watches, sources, timers)
        (watches, sources, timers) = ([], [], TimerQueue())
        withExtendedLifetime(dropped) {}
    }

    /// Returns whether more work is waiting already.
    private func runJobs() -> Bool {
        let jobs = shared.withLock { shared in
            let jobs = shared.jobs
            shared.jobs = []
            return jobs
        }
        for work in jobs {
            switch work {
            case .job(let job): job.runSynchronously(on: asUnownedSerialExecutor())
            case .closure(let closure): closure()
            }
        }
        return !shared.withLock { $0.jobs.isEmpty }
    }

    /// Returns false when the loop is to end.
    private func poll(block: Bool) -> Bool {
        if descriptorsChanged { rebuildDescriptors() }
        let (mayBlock, ended) = shared.withLock { shared in
            let idle = shared.jobs.isEmpty
            shared.sleeping = block && idle
            shared.hasEnded = shared.stopping && idle
            return (block && idle, shared.hasEnded)
        }
        if ended { return false }
        // Of ppoll(2), because poll(2) knows only milliseconds.
        var timeout = timespec()
        let deadline = mayBlock ? timers.nextDeadline : nil
        if let deadline {
            let (seconds, attoseconds) = max(MonotonicInstant.now.duration(to: deadline), .zero).components
            timeout = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
        }
        let isEndless = mayBlock && deadline == nil
        let count = withUnsafePointer(to: &timeout) { timeout in
            ppoll(&pollDescriptors, nfds_t(pollDescriptors.count), isEndless ? nil : timeout, nil)
        }
        shared.withLock { $0.sleeping = false }
        if count > 0 { dispatchReady() }
        return true
    }

    private func rebuildDescriptors() {
        descriptorsChanged = false
        pollDescriptors.removeAll(keepingCapacity: true)
        pollDescriptors.append(pollfd(fd: wakeUp.read, events: Int16(POLLIN), revents: 0))
        for source in sources {
            pollDescriptors.append(pollfd(fd: source.descriptor, events: Int16(POLLIN), revents: 0))
        }
        for watch in watches {
            pollDescriptors.append(pollfd(fd: watch.descriptor, events: watch.interest.pollEvents, revents: 0))
        }
    }

    private func dispatchReady() {
        if pollDescriptors[0].revents != 0 {
            var bytes: (UInt64, UInt64) = (0, 0)
            _ = read(wakeUp.read, &bytes, 16)
        }
        for (index, source) in sources.enumerated() where pollDescriptors[1 + index].revents != 0 { source.descriptorFired() }
        let firstWatch = 1 + sources.count
        var ready: [(Watch, DescriptorEvents)] = []
        for (index, watch) in watches.enumerated() where firstWatch + index < pollDescriptors.count {
            let events = pollDescriptors[firstWatch + index]
            if events.revents != 0 { ready.append((watch, DescriptorEvents(pollEvents: events.revents))) }
        }
        for (watch, readiness) in ready { watch.fire(readiness) }
    }
}
