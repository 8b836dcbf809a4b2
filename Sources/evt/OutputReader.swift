import Dispatch
import EventStream
import Glibc

/// Whoever was to read standard output has ended, as `head` does.
struct ReaderGone: Error {}

/// Whoever reads standard output, if it is a pipe or a socket.
enum OutputReader {
    /// Whether there is none any more (poll(2): POLLERR at the writing end).
    static var isGone: Bool { waitUntilGone(milliseconds: 0) }

    /// Calls back once the reader is gone, also while nothing is written. A write fails from now on, and ends nothing by itself.
    static func whenGone(_ action: @escaping @Sendable () -> Void) {
        signal(SIGPIPE, SIG_IGN)
        DispatchQueue.global().async { if waitUntilGone(milliseconds: -1) { action() } }
    }

    /// For what only looks: nothing is left to be done then.
    static func endWhenGone() { whenGone { _exit(0) } }

    /// Prints events for whom only looks.
    static func show(_ events: [Event]) throws {
        do {
            try printLines(events)
        } catch is ReaderGone {
            _exit(0)
        }
    }

    /// Waits until the reader has taken what was written. What lies in a pipe nobody has seen.
    ///
    /// - Throws: ``ReaderGone`` if it has ended before, or right after it took something: `head` reads more than it shows.
    static func hasTakenAll() async throws {
        var (isFirst, pause) = (true, Duration.milliseconds(1))
        while let bytes = unread {
            if isGone { throw ReaderGone() }
            if bytes == 0, !isFirst { return }
            if bytes == 0 { (isFirst, pause) = (false, grace) } else { isFirst = true }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .milliseconds(50))
        }
    }

    private static let grace = Duration.milliseconds(20)

    /// Bytes in the pipe; nil if it is none.
    private static var unread: Int? {
        var status = stat()
        guard fstat(STDOUT_FILENO, &status) == 0, status.st_mode & S_IFMT == S_IFIFO else { return nil }
        var bytes: Int32 = 0
        return ioctl(STDOUT_FILENO, UInt(FIONREAD), &bytes) == 0 ? Int(bytes) : nil
    }

    private static func waitUntilGone(milliseconds: Int32) -> Bool {
        var descriptor = pollfd(fd: STDOUT_FILENO, events: 0, revents: 0)
        while poll(&descriptor, 1, milliseconds) < 0 { guard errno == EINTR else { return false } }
        return descriptor.revents & Int16(POLLERR | POLLHUP) != 0
    }
}
