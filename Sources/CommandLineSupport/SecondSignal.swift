import Glibc
import Logging
import ServiceLifecycle
import UnixSignals

/// The first SIGTERM or SIGINT asks for a clean stop; the second ends the process at once.
enum SecondSignal {
    /// A stop takes no longer than this, whatever hangs: a database that does not answer, a connection being made.
    private static let deadline = Duration.milliseconds(4500)

    static func run(_ group: ServiceGroup, logger: Logger) async throws {
        let watcher = Task {
            var count = 0
            for await _ in await UnixSignalsSequence(trapping: .sigterm, .sigint) {
                count += 1
                if count == 2 { _exit(1) }
                Task {
                    try await Task.sleep(for: deadline)
                    // What is not confirmed comes again; what is not committed was not answered.
                    logger.warning("the stop took too long; ending now")
                    _exit(0)
                }
            }
        }
        defer { watcher.cancel() }
        try await group.run()
    }
}
