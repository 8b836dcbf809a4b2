import EventStream
import EventStreamDatabase
import Foundation
package import LibPQ
import PosixLoop

/// Databases for tests: each test has its own, copied from a template.
///
/// `etc/test` starts a private PostgreSQL and names it in `EVT_TEST_POSTGRES`.
package enum TestDatabase {
    package enum Template: String, Sendable {
        case empty
        /// The active database, migrated, with group roles and their rights.
        case active
        /// The warehouse database, in the same way.
        case warehouse
    }

    /// A libpq connection string of the test cluster, for a superuser.
    package static var cluster: String {
        guard let cluster = ProcessInfo.processInfo.environment["EVT_TEST_POSTGRES"] else {
            fatalError("EVT_TEST_POSTGRES is not set: run the tests with etc/test, which starts a PostgreSQL for them")
        }
        return cluster
    }

    package static func url(of database: String) -> String { "\(cluster) dbname=\(database)" }

    /// Makes a database, runs `body` with its connection string, and drops it.
    package static func with<Value: Sendable>(
        _ template: Template, _ body: (String) async throws -> Value
    ) async throws -> Value {
        let name = "evt_test_\(UInt64.random(in: 0...UInt64.max))"
        let source = try await Templates.shared.name(of: template)
        try await execute("CREATE DATABASE \(name) TEMPLATE \(source)", on: url(of: "postgres"))
        let outcome: Result<Value, any Error>
        do {
            outcome = .success(try await body(url(of: name)))
        } catch {
            outcome = .failure(error)
        }
        try await execute("DROP DATABASE IF EXISTS \(name) WITH (FORCE)", on: url(of: "postgres"))
        return try outcome.get()
    }

    /// An active database and a warehouse.
    package static func withStream<Value: Sendable>(
        _ body: (_ active: String, _ warehouse: String) async throws -> Value
    ) async throws -> Value {
        try await with(.active) { active in try await with(.warehouse) { try await body(active, $0) } }
    }

    /// Runs `body` with a connection, on an event loop of its own.
    package static func connected<Value: Sendable>(
        to url: String, _ body: nonisolated(nonsending) @Sendable (Connection) async throws -> Value
    ) async throws -> Value {
        try await onLoop { loop in
            let connection = try await Connection.open(url, on: loop)
            defer { connection.close() }
            return try await body(connection)
        }
    }

    /// Runs SQL, one or several statements.
    package static func execute(_ sql: String, on url: String) async throws {
        try await connected(to: url) { _ = try await $0.script(sql) }
    }

    /// The rows of a query, as text; NULL is nil.
    package static func rows(_ sql: String, on url: String) async throws -> [[String?]] {
        try await connected(to: url) { connection in
            let rows = try await connection.query(Statement(sql))
            return (0..<rows.count).map { row in (0..<rows.columnCount).map { rows.string(row, $0) } }
        }
    }

    /// The first column of the first row, as a number.
    package static func number(_ sql: String, on url: String) async throws -> Int {
        Int(try await rows(sql, on: url).first?.first.flatMap { $0 } ?? "") ?? 0
    }
}

private actor Templates {
    static let shared = Templates()
    private var made: [TestDatabase.Template: Task<String, any Error>] = [:]

    func name(of template: TestDatabase.Template) async throws -> String {
        if template == .empty { return "template0" }
        if let task = made[template] { return try await task.value }
        let task = Task {
            let name = "evt_template_\(template.rawValue)_\(UInt64.random(in: 0...UInt64.max))"
            try await TestDatabase.execute("CREATE DATABASE \(name)", on: TestDatabase.url(of: "postgres"))
            try await TestDatabase.connected(to: TestDatabase.url(of: name)) { connection in
                switch template {
                case .active:
                    _ = try await Migrator.migrateActive(.standard, on: connection)
                    _ = try await Migrator.grantActive(.standard, on: connection)
                case .warehouse:
                    _ = try await Migrator.migrateWarehouse(.standard, on: connection)
                    _ = try await Migrator.grantWarehouse(.standard, on: connection)
                case .empty: break
                }
            }
            try await TestLogin.make(on: TestDatabase.url(of: name))
            return name
        }
        made[template] = task
        return try await task.value
    }
}
