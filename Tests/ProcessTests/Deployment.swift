import Foundation
import TestSupport
import Testing

/// The four processes with databases and sockets of their own. Each logs in as a role that may do no more than it needs.
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
            "EVT_METRICS_BIND": "", "EVT_METRICS_CONNECT": "",
        ]
    }

    func start(_ program: String, _ arguments: [String] = [], _ more: [String: String] = [:]) throws -> ChildProcess {
        let environment = Self.environment(environment.merging(more) { $1 }, as: Self.login(of: program, arguments))
        return try ChildProcess(program, arguments, environment: environment)
    }

    /// Logs in as a role that may only look.
    func evt(_ arguments: String..., input: String? = nil) async throws -> ChildProcess.Output {
        try await ChildProcess.run("evt", arguments, environment: Self.environment(environment, as: .monitor), input: input)
    }

    /// Logs in as the tables' owner: for what changes something.
    func evtAsOwner(_ arguments: String..., input: String? = nil) async throws -> ChildProcess.Output {
        try await ChildProcess.run("evt", arguments, environment: environment, input: input)
    }

    /// Registers a consumer, for which events are kept from then on.
    func register(_ consumer: String) async throws {
        let done = try await evtAsOwner("consumers", "register", consumer)
        guard done.status == 0 else { throw Refused(description: done.text) }
    }

    /// Makes tables and roles in databases that have none.
    func migrate() async throws {
        let made = try await evtAsOwner("migrate", "--roles")
        guard made.status == 0 else { throw Refused(description: made.text) }
        for url in [active, warehouse] { try await TestLogin.make(on: url) }
    }

    struct Refused: Error, CustomStringConvertible {
        let description: String
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
    func record(_ type: String, _ data: String = "null") async throws -> Int {
        try await TestDatabase.number("SELECT evt_add('\(type)', '\(data)')", on: TestDatabase.url(active, as: .app))
    }

    func archived() async throws -> Int { try await TestDatabase.number("SELECT count(*) FROM evt_history", on: warehouse) }
    func backlog() async throws -> Int { try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: active) }
    func position(of component: String) async throws -> Int {
        try await TestDatabase.number("SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:\(component)'", on: active)
    }

    /// The newest event's id; of a type, if one is given.
    func newest(_ type: String? = nil) async throws -> Int {
        let filter = type.map { "WHERE type = '\($0)'" } ?? ""
        return try await TestDatabase.number("SELECT max(id) FROM evt_queue \(filter)", on: active)
    }

    /// Waits until an event that is recorded now has been received, and all before it.
    func goesOn(_ receiver: PersistentReceiver, _ when: String) async throws {
        let id = try await record(receiver.want ?? "AFTER")
        try await eventually("events for \(receiver.name) \(when)") { await receiver.log.newest >= id }
    }

    /// Keeps a copy of every event from now on, in a table `truth`: discarding does not touch it.
    func noteTruth() async throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Harness/truth.sql")
        try await TestDatabase.execute(String(contentsOf: file, encoding: .utf8), on: active)
    }

    /// Waits until all of the truth is in the archive, and compares the ids.
    func checkArchive() async throws {
        let truth = try await TestDatabase.number("SELECT max(id) FROM truth", on: active)
        try await eventually("the archive") {
            try await TestDatabase.number("SELECT max(id) FROM evt_history", on: warehouse) == truth
        }
        let ids = "SELECT count(*), md5(string_agg(id::text, ',' ORDER BY id)) FROM"
        let archived = try await TestDatabase.rows("\(ids) evt_history", on: warehouse)
        #expect(try await TestDatabase.rows("\(ids) truth", on: active) == archived)
    }

    /// Starts the four processes, known by their names.
    func startRoles(_ more: [String: String] = [:]) throws -> [String: ChildProcess] {
        try PipelineTests.roles.reduce(into: [:]) { $0[$1] = try start($1, [], more) }
    }
}

extension ChildProcess {
    /// Waits until each of so many roles has its database: a call that comes earlier is refused after a while.
    func serves(roles: Int = 1) async throws {
        try await eventually("a connection to the database") {
            output.components(separatedBy: "connected to the database").count > roles
        }
    }

    /// For how long it has said something.
    var secondsOfLog: Int {
        let times = output.split(separator: "\n").compactMap { try? Date("\($0.prefix(19))Z", strategy: .iso8601) }
        guard let first = times.first, let last = times.last else { return 0 }
        return Int(last.timeIntervalSince(first))
    }

    /// What it warned of. Writers that hold up the stream do so for long on a busy machine, and that is told.
    var warnings: [Substring] {
        output.split(separator: "\n").filter { $0.contains(" WARNING ") && !$0.contains("events wait for a transaction") }
    }
}

extension [String: ChildProcess] {
    /// Waits until each is at work: one that has only just been started does not listen to signals yet.
    func haveStarted() async throws {
        for (name, process) in self {
            try await eventually("\(name)'s work") {
                process.output.contains("connected to the database") || process.output.contains("receiving")
            }
        }
    }

    /// Each stops cleanly.
    func stop() async throws {
        for process in values { process.signal(SIGTERM) }
        for (name, process) in self {
            let end = try await process.ended()
            #expect(end.status == 0, "\(name): \(end.text.suffix(1000))")
        }
    }

    /// None has written more lines of its log than so many, and two for each second of its life: what goes on for long is not
    /// told again and again.
    func expectLog(lines limit: Int) {
        for (name, process) in self {
            let lines = process.output.split(separator: "\n")
            #expect(
                lines.count <= limit + 2 * process.secondsOfLog,
                "\(name): \(lines.count) lines, such as \(lines.suffix(5).joined(separator: "\n"))")
        }
    }
}
