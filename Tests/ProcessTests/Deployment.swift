import TestSupport

/// The four processes with databases and sockets of their own.
struct Deployment: Sendable {
    let active: String
    let warehouse: String
    let directory: String

    static func with(_ body: (Deployment) async throws -> Void) async throws {
        try await TestDatabase.withStream { active, warehouse in
            try await ScratchDirectory.with { directory in
                try await body(Deployment(active: active, warehouse: warehouse, directory: directory))
            }
        }
    }

    var environment: [String: String] {
        [
            "EVT_DATABASE_URL": active, "EVT_ARCHIVE_URL": warehouse, "EVT_GENERATOR_BIND": "ipc://\(directory)/gen",
            "EVT_PUSHER_BIND": "ipc://\(directory)/push", "EVT_LIVE_BIND": "ipc://\(directory)/live",
            "EVT_GENERATOR_CONNECT": "ipc://\(directory)/gen", "EVT_PUSHER_CONNECT": "ipc://\(directory)/push",
            "EVT_LIVE_CONNECT": "ipc://\(directory)/live", "EVT_DISCARD_POLL_PERIOD": "100ms",
        ]
    }

    func start(_ program: String, _ arguments: [String] = [], _ more: [String: String] = [:]) throws -> ChildProcess {
        try ChildProcess(program, arguments, environment: environment.merging(more) { $1 })
    }

    func evt(_ arguments: String..., input: String? = nil) async throws -> ChildProcess.Output {
        try await ChildProcess.run("evt", arguments, environment: environment, input: input)
    }

    @discardableResult
    func record(_ type: String, _ data: String = "null") async throws -> Int {
        try await TestDatabase.number("SELECT evt_add('\(type)', '\(data)')", on: active)
    }

    func archived() async throws -> Int { try await TestDatabase.number("SELECT count(*) FROM evt_history", on: warehouse) }
    func backlog() async throws -> Int { try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: active) }
    func position(of component: String) async throws -> Int {
        try await TestDatabase.number("SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:\(component)'", on: active)
    }
}
