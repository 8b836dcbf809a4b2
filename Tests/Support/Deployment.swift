import Foundation

/// The four processes with databases and sockets of their own. Each logs in as a role that may do no more than it needs.
package struct Deployment: TestStream {
    package let active: String
    package let warehouse: String
    package let directory: String

    package init(active: String, warehouse: String, directory: String) {
        (self.active, self.warehouse, self.directory) = (active, warehouse, directory)
    }

    package static func with(_ body: (Deployment) async throws -> Void) async throws {
        try await TestDatabase.withStream { active, warehouse in
            try await ScratchDirectory.with { directory in
                try await body(Deployment(active: active, warehouse: warehouse, directory: directory))
            }
        }
    }

    package var environment: [String: String] {
        [
            "EVT_DATABASE_URL": active, "EVT_ARCHIVE_URL": warehouse, "EVT_GENERATOR_BIND": "ipc://\(directory)/gen",
            "EVT_PUSHER_BIND": "ipc://\(directory)/push", "EVT_LIVE_BIND": "ipc://\(directory)/live",
            "EVT_GENERATOR_CONNECT": "ipc://\(directory)/gen", "EVT_PUSHER_CONNECT": "ipc://\(directory)/push",
            "EVT_LIVE_CONNECT": "ipc://\(directory)/live", "EVT_DISCARD_POLL_PERIOD": "100ms",
            "EVT_METRICS_BIND": "", "EVT_METRICS_CONNECT": "",
        ]
    }

    package func start(_ program: String, _ arguments: [String] = [], _ more: [String: String] = [:]) throws -> ChildProcess {
        let environment = Self.environment(environment.merging(more) { $1 }, as: Self.login(of: program, arguments))
        return try ChildProcess(program, arguments, environment: environment)
    }

    /// Logs in as a role that may only look.
    package func evt(_ arguments: String..., input: String? = nil) async throws -> ChildProcess.Output {
        try await ChildProcess.run("evt", arguments, environment: Self.environment(environment, as: .monitor), input: input)
    }

    /// Logs in as the tables' owner: for what changes something.
    package func evtAsOwner(_ arguments: String..., input: String? = nil) async throws -> ChildProcess.Output {
        try await ChildProcess.run("evt", arguments, environment: environment, input: input)
    }

    /// Registers a consumer, for which events are kept from then on.
    package func register(_ consumer: String) async throws {
        let done = try await evtAsOwner("consumers", "register", consumer)
        guard done.status == 0 else { throw Failure(done.text) }
    }

    /// Makes tables and roles in databases that have none.
    package func migrate() async throws {
        let made = try await evtAsOwner("migrate", "--roles")
        guard made.status == 0 else { throw Failure(made.text) }
        for url in [active, warehouse] { try await TestLogin.make(on: url) }
    }

    /// Nil for what is no part of the pipeline, and works as the owner.
    private static func login(of program: String, _ arguments: [String]) -> TestLogin? {
        program == "evt" ? (arguments.first == "serve" ? .serve : .monitor) : TestLogin(rawValue: String(program.dropFirst(4)))
    }

    private static func environment(_ settings: [String: String], as login: TestLogin?) -> [String: String] {
        guard let login else { return settings }
        var settings = settings
        for name in ["EVT_DATABASE_URL", "EVT_ARCHIVE_URL"] {
            if let url = settings[name] { settings[name] = TestDatabase.url(url, as: login) }
        }
        return settings
    }

    @discardableResult
    package func record(_ type: String, _ data: String = "null") async throws -> Int {
        try await TestDatabase.number("SELECT evt_add('\(type)', '\(data)')", on: TestDatabase.url(active, as: .app))
    }

    /// The newest event's id; of a type, if one is given.
    package func newest(_ type: String? = nil) async throws -> Int {
        let filter = type.map { "WHERE type = '\($0)'" } ?? ""
        return try await TestDatabase.number("SELECT max(id) FROM evt_queue \(filter)", on: active)
    }

    /// Keeps a copy of every event from now on, in a table `truth`: discarding does not touch it.
    package func noteTruth() async throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Harness/truth.sql")
        try await TestDatabase.execute(String(contentsOf: file, encoding: .utf8), on: active)
    }

    package static let roles = ["evt-generator", "evt-pusher", "evt-archiver", "evt-discarder"]

    /// Starts the four processes, known by their names.
    package func startRoles(_ more: [String: String] = [:]) throws -> [String: ChildProcess] {
        try Self.roles.reduce(into: [:]) { $0[$1] = try start($1, [], more) }
    }
}
