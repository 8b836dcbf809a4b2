import CommandLineSupport
import EventStream
import EventStreamDatabase
import LibPQ
import PosixLoop
import TestSupport

/// A database of the benchmark's own.
struct Database: Sendable {
    let url: String

    /// Makes one with a stream in it, runs `body`, and drops it.
    static func with<Value: Sendable>(_ server: String, _ body: (Database) async throws -> Value) async throws -> Value {
        try await with(server, { _ = try await Migrator.migrateActive(.standard, on: $0) }, body)
    }

    /// The same with a warehouse in it.
    static func withWarehouse<Value: Sendable>(
        _ server: String, _ body: (Database) async throws -> Value
    ) async throws -> Value {
        try await with(server, { _ = try await Migrator.migrateWarehouse(.standard, on: $0) }, body)
    }

    private static func with<Value: Sendable>(
        _ server: String, _ migrate: nonisolated(nonsending) @Sendable (Connection) async throws -> Void,
        _ body: (Database) async throws -> Value
    ) async throws -> Value {
        let name = "evt_bench_\(UInt32.random(in: 0...UInt32.max))"
        let admin = "\(server) dbname=postgres"
        try await withConnection(to: admin) { _ = try await $0.script("CREATE DATABASE \(name)") }
        let database = Database(url: "\(server) dbname=\(name)")
        let outcome: Result<Value, any Error>
        do {
            try await withConnection(to: database.url, migrate)
            outcome = .success(try await body(database))
        } catch {
            outcome = .failure(error)
        }
        try await withConnection(to: admin) { _ = try await $0.script("DROP DATABASE \(name) WITH (FORCE)") }
        return try outcome.get()
    }

    func connected<Value: Sendable>(
        _ body: nonisolated(nonsending) @Sendable (Connection) async throws -> Value
    ) async throws -> Value { try await withConnection(to: url, body) }

    func execute(_ sql: String) async throws { try await connected { _ = try await $0.script(sql) } }

    func number(_ sql: String) async throws -> Int {
        try await connected { Int(try await $0.query(Statement(sql)).int(0, 0) ?? 0) }
    }

    /// Asks the same question every few milliseconds, on one connection, until the answer is yes; fails after five minutes.
    ///
    /// - Parameter processes: what is at work meanwhile; if one of them ends there is nothing to wait for.
    func wait(
        until question: String, every pause: Duration = .milliseconds(5), while processes: [ChildProcess]
    ) async throws {
        let deadline = ContinuousClock.now + .seconds(300)
        try await connected { connection in
            while try await connection.query(Statement("SELECT \(question)", name: "bench_wait")).bool(0, 0) != true {
                for process in processes { try process.checkRunning() }
                guard ContinuousClock.now < deadline else { throw Failure("waited in vain until \(question)") }
                try await Task.sleep(for: pause)
            }
        }
    }

    /// Events of about 150 bytes, as JSON objects with a number, a name and a text.
    static let data = "json_build_object('n', g, 'name', 'a customer', 'text', repeat('x', 90))"

    /// Records so many events at once, and lets the server come to rest.
    func fill(_ count: Int, type: String = "BENCH") async throws {
        try await execute(
            "INSERT INTO evt_queue (type, data) SELECT '\(type)', \(Database.data) FROM generate_series(1, \(count)) g")
        try await execute("VACUUM ANALYZE evt_queue")
        try await execute("CHECKPOINT")
    }

    /// Registers a consumer at the first event still there.
    func register(_ component: String) async throws {
        try await connected { connection in
            let admin = ConsumerAdmin(try await StreamInfo.load(.standard, from: connection))
            _ = try await admin.register(ConsumerIdentity(component)!, on: connection)
        }
    }

    /// Moves a consumer to the newest event.
    func confirmAll(_ component: String) async throws {
        try await connected { connection in
            let admin = ConsumerAdmin(try await StreamInfo.load(.standard, from: connection))
            _ = try await admin.set("local:\(component)", to: .now, on: connection)
        }
    }

    func position(of component: String) async throws -> Int {
        try await number("SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:\(component)'")
    }
}
