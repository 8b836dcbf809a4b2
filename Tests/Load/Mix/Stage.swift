import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

/// What a run needs in the database, and takes away again.
struct Stage: Sendable {
    /// Never confirms anything, so that all events stay to be compared with.
    private static let hold = "MIXHOLD"

    let database: DatabaseConfiguration
    let info: StreamInfo
    /// Events after this are the run's.
    let start: EventID

    /// What an unrelated transaction writes to.
    private var bystander: String { info.tables.events.with(suffix: "_mix").sql }

    /// Registers the consumers, at the newest event.
    static func prepare(_ database: DatabaseConfiguration) async throws -> Stage {
        try await withConnection(to: database.url) { connection in
            let info = try await StreamInfo.load(database.tables, from: connection)
            let admin = ConsumerAdmin(info)
            func register(_ component: String, at start: StartPosition) async throws -> EventID {
                let ident = ConsumerIdentity(component)!
                _ = try await admin.register(ident, on: connection)
                return try await admin.set(ident.description, to: start, on: connection).position
            }
            let start = try await register(hold, at: .now)
            let stage = Stage(database: database, info: info, start: start)
            // A run that was killed may have left some behind.
            try await stage.endPrepared(on: connection)
            for component in Listening.consumers { _ = try await register(component, at: .after(start)) }
            try await connection.query(Statement("CREATE TABLE IF NOT EXISTS \(stage.bystander) (written timestamptz)"))
            return stage
        }
    }

    /// Events of every type, for those who hear only what comes after they are there.
    func rehearse() async throws {
        try await withConnection(to: database.url) { connection in
            for type in EventType.mix + [.probe] {
                try await connection.query(Statement("SELECT \(info.tables.add.sql)($1, 'null')"), [.utf8(type.utf8)])
            }
        }
    }

    /// Runs `body` while a transaction is open that has written, though nothing that has to do with events.
    func withUnrelatedTransaction(_ body: @Sendable () async throws -> Void) async throws {
        try await withConnection(to: database.url) { connection in
            try await connection.transaction {
                try await connection.query(Statement("INSERT INTO \(bystander) VALUES (now())"))
                try await body()
            }
        }
    }

    /// The consumers are gone; they must not hold events back.
    func cleanUp() async throws {
        try await withConnection(to: database.url) { connection in
            try await endPrepared(on: connection)
            let admin = ConsumerAdmin(info)
            for component in [Stage.hold] + Listening.consumers {
                _ = try await admin.remove("\(ConsumerIdentity.localUser):\(component)", on: connection)
            }
            try await connection.query(Statement("DROP TABLE IF EXISTS \(bystander)"))
        }
    }

    private func endPrepared(on connection: Connection) async throws {
        let left = try await connection.query(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, $1)",
            [.text(PreparedPool.prefix)])
        for row in 0..<left.count {
            try await connection.query(Statement("ROLLBACK PREPARED \(quotedLiteral(left.string(row, 0) ?? ""))"))
        }
    }
}
