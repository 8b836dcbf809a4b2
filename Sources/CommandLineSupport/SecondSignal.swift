import Glibc
import ServiceLifecycle
import UnixSignals

/// The first SIGTERM or SIGINT asks for a clean stop; the second ends the process.
enum SecondSignal {
    static func run(_ group: ServiceGroup) async throws {
        let watcher = Task {
            var count = 0
            for await _ in await UnixSignalsSequence(trapping: .sigterm, .sigint) {
                count += 1
                if count == 2 { _exit(1) }
            }
        }
        defer { watcher.cancel() }
        try await group.run()
    }
}
