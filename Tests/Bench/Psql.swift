import CommandLineSupport
import TestSupport

/// The server's own client, as it is found in the PATH.
enum Psql {
    /// Feeds what one command gives to another; returns the seconds it took.
    static func pipe(_ source: String, on first: Database, _ target: String, on second: Database) async throws -> Double {
        let start = ContinuousClock.now
        let end = try await ChildProcess.run(
            "/bin/sh",
            ["-c", #"psql -X -q -c "$2" "$1" | psql -X -q -c "$4" "$3""#, "sh", first.url, source, second.url, target])
        guard end.status == 0 else { throw Failure("psql ended with status \(end.status): \(end.text)") }
        return (ContinuousClock.now - start).seconds
    }
}
