import Glibc
import Logging
import ServiceLifecycle
import UnixSignals

/// The first SIGTERM or SIGINT asks for a clean stop; the second ends the process at once.
enum SecondSignal {
    /// A stop takes no longer than this, whatever hangs: a database that does not answer, a connection being made.
    private static let deadline = Duration.milliseconds(4500)

    /// - Parameter group: listens to no signals itself: one that came early is seen only by who asks for it first.
    static func run(_ group: ServiceGroup, logger: Logger, log: Log) async throws {
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        let watcher = Task {
            var count = 0
            for await _ in signals {
                count += 1
                if count == 2 {
                    log.flush(within: .milliseconds(100))
                    _exit(1)
                }
                await group.triggerGracefulShutdown()
                Task {
                    try await Task.sleep(for: deadline)
                    // What is not confirmed comes again; what is not committed was not answered.
                    logger.warning("the stop took too long; ending now")
                    log.flush(within: .milliseconds(300))
                    _exit(0)
                }
            }
        }
        defer { watcher.cancel() }
        try await group.run()
    }
}
