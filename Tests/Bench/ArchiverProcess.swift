import EventStreamPusher
import TestSupport

/// The built archiver, behind a pusher of its own.
struct ArchiverProcess: Sendable {
    private let processes: [ChildProcess]
    private let component: String
    private let warehouse: Database

    /// Runs both for a component that is registered now, and `body` once the session has begun.
    static func with<Value>(
        _ component: String, from database: Database, to warehouse: Database, _ body: (ArchiverProcess) async throws -> Value
    ) async throws -> Value {
        try await database.register(component)
        return try await PusherProcess.with(database) { pusher in
            let settings = [
                "EVT_ARCHIVE_URL": warehouse.url, "EVT_PUSHER_CONNECT": pusher.endpoint, "EVT_ARCHIVER_COMPONENT": component,
            ]
            return try await ChildProcess.quietly("evt-archiver", settings) { process in
                let processes = [pusher.process, process]
                try await database.wait(
                    until: "session_owner IS NOT NULL FROM evt_consumers WHERE ident = 'local:\(component)'",
                    every: .milliseconds(1), while: processes)
                return try await body(ArchiverProcess(processes: processes, component: component, warehouse: warehouse))
            }
        }
    }

    /// Waits until everything up to this id is in the warehouse.
    func wait(for id: Int) async throws {
        try await warehouse.wait(
            until: "last_evt_id >= \(id) FROM evt_history_positions WHERE ident = 'local:\(component)'", while: processes)
    }
}
