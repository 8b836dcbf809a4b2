import EventStreamPusher
import TestSupport

/// The built pusher, on a port of its own.
struct PusherProcess: Sendable {
    let process: ChildProcess
    let endpoint: String

    /// Runs one while `body` runs.
    static func with<Value>(
        _ database: Database, keys: BenchKeys? = nil, archive: Database? = nil, _ body: (PusherProcess) async throws -> Value
    ) async throws -> Value {
        let endpoint = "tcp://127.0.0.1:\(Int.random(in: 20_000..<32_000))"
        let settings = ["EVT_DATABASE_URL": database.url, "EVT_PUSHER_BIND": endpoint, "EVT_LIVE_BIND": ""]
            .merging(keys?.settings ?? [:]) { $1 }.merging(archive.map { ["EVT_ARCHIVE_URL": $0.url] } ?? [:]) { $1 }
        return try await ChildProcess.quietly("evt-pusher", settings) { process in
            try await body(PusherProcess(process: process, endpoint: endpoint))
        }
    }
}
