import CommandLineSupport
import Foundation

/// The server's own client, as it is found in the PATH.
enum Psql {
    /// Feeds what one command gives to another; returns the seconds it took.
    static func pipe(_ source: String, on first: Database, _ target: String, on second: Database) async throws -> Double {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = [
            "-c", #"psql -X -q -c "$2" "$1" | psql -X -q -c "$4" "$3""#, "sh", first.url, source, second.url, target,
        ]
        let start = ContinuousClock.now
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            process.terminationHandler = { _ in continuation.resume() }
            do {
                try withSignalsUnblocked { try process.run() }
            } catch {
                process.terminationHandler = nil
                continuation.resume(throwing: error)
            }
        }
        guard process.terminationStatus == 0 else { throw Failure("psql ended with status \(process.terminationStatus)") }
        return (ContinuousClock.now - start).seconds
    }
}
