import CGlibc
import Glibc
import Synchronization

/// Writes the log to a descriptor on a thread of its own: nobody who logs waits for whoever reads it.
///
/// The descriptor stays as it is. To make it non-blocking would do so for every process that has the same terminal or pipe.
///
/// `@unchecked Sendable`: the queue is used under `mutex` only.
final class LogWriter: @unchecked Sendable {
    private let descriptor: Int32
    private var queue: LogQueue
    private var isWriting = false
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    /// Lives as long as the process.
    init(_ descriptor: Int32, limit: Int = 1 << 20, notice: @escaping @Sendable (Int) -> [UInt8]) {
        self.descriptor = descriptor
        queue = LogQueue(limit: limit, notice: notice)
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(changed, &attributes)
        var handle = pthread_t()
        // Signals are for others.
        var (all, before) = (sigset_t(), sigset_t())
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        let status = pthread_create(
            &handle, nil,
            { argument in
                Unmanaged<LogWriter>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        pthread_sigmask(SIG_SETMASK, &before, nil)
        precondition(status == 0, "pthread_create: \(String(cString: strerror(status)))")
        pthread_detach(handle)
    }

    /// Lines that were not written, all together.
    var dropped: Int { locked { queue.dropped } }

    /// Writes a line soon, after those that wait already; never waits.
    func write(_ line: [UInt8]) {
        locked {
            queue.append(line)
            logIsPending.store(1, ordering: .sequentiallyConsistent)
            pthread_cond_broadcast(changed)
        }
    }

    /// Waits until what was logged is written, as long as somebody takes it.
    ///
    /// - Returns: whether all is written.
    @discardableResult
    func flush(within timeout: Duration = .seconds(1)) -> Bool {
        var deadline = timespec()
        clock_gettime(CLOCK_MONOTONIC, &deadline)
        let nanoseconds = deadline.tv_nsec + Int(timeout / .nanoseconds(1))
        deadline.tv_sec += nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000
        return locked {
            while isWriting || !queue.isEmpty {
                guard pthread_cond_timedwait(changed, mutex, &deadline) != ETIMEDOUT else { return false }
            }
            return true
        }
    }

    private func run() {
        pthread_mutex_lock(mutex)
        while true {
            guard let entry = queue.next() else {
                logIsPending.store(0, ordering: .sequentiallyConsistent)
                pthread_cond_broadcast(changed)
                pthread_cond_wait(changed, mutex)
                continue
            }
            isWriting = true
            pthread_mutex_unlock(mutex)
            let isWritten = writeAll(entry.bytes)
            pthread_mutex_lock(mutex)
            isWriting = false
            if !isWritten { queue.failed(entry) }
        }
    }

    /// A line is written at once where the system takes it so: lines of several processes do not mix then.
    private func writeAll(_ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest.removeFirst(count)
            } else if errno == EAGAIN {
                // Another process has made it non-blocking.
                var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wanted, 1, -1)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }

    private func locked<Value>(_ body: () -> Value) -> Value {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }
}

extension LogWriter {
    /// Waits a moment for what was logged to be written: in a signal handler, where next to nothing may be done (signal-safety(7)).
    static func waitInHandler() {
        var left = 200
        while left > 0, logIsPending.load(ordering: .sequentiallyConsistent) != 0 {
            var pause = timespec(tv_sec: 0, tv_nsec: 1_000_000)
            nanosleep(&pause, nil)
            left -= 1
        }
    }

    /// The same; then ends the process.
    static func waitInHandler(then status: Int32) -> Never {
        waitInHandler()
        _exit(status)
    }

    /// A trap ends the process; what was logged before, and says why, is written first.
    ///
    /// Only where nobody else wants the signal, such as a sanitizer. The trap then takes its course.
    static func writeBeforeTraps() {
        _ = logIsPending.load(ordering: .sequentiallyConsistent)
        for number in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE] {
            var present = sigaction()
            guard sigaction(number, nil, &present) == 0, present.__sigaction_handler.sa_handler == nil else { continue }
            var ours = sigaction()
            ours.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
            ours.__sigaction_handler.sa_handler = { number in
                LogWriter.waitInHandler()
                // A fault comes again by itself when the instruction is repeated; what somebody sent does not.
                raise(number)
            }
            sigaction(number, &ours, nil)
        }
    }
}

/// Whether something waits to be written: for a signal handler, which may take no lock. A process has one log.
private let logIsPending = Atomic(0)
