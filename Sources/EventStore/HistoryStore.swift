public import EventStream
public import Postgres

/// The warehouse: the history, and how far each archiver has come.
public struct HistoryStore: Sendable {
    public let tables: ArchiveTables
    /// The archiver's name in the table of positions.
    private let archiver: ConsumerIdentity

    /// - Parameter tables: with their schema.
    init(_ tables: ArchiveTables, archiver: ConsumerIdentity) {
        self.tables = tables
        self.archiver = archiver
    }

    /// Looks the archive up and checks that its schema is the one this program knows.
    public static func load(
        _ tables: ArchiveTables, archiver: ConsumerIdentity, from connection: Connection
    ) async throws -> HistoryStore {
        let found = try await connection.query(
            """
            SELECT (SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass($1)),
                to_regclass($2) IS NOT NULL
            """, [.text(tables.history.sql), .text(tables.migrations.sql)])
        guard let schema = found.string(0, 0), found.bool(0, 1) == true else {
            throw StoreError("the warehouse has no history table \(tables.history) yet, or not ours: run `evt migrate` on it")
        }
        let qualified = ArchiveTables(history: tables.history.qualified(in: schema))
        try await Migrator.check(qualified.migrations, knows: qualified.migrationSQL.map(\.migration), on: connection)
        return HistoryStore(qualified, archiver: archiver)
    }

    /// Up to which event this archiver has copied everything.
    public func position(on connection: Connection) async throws(PostgresError) -> EventID {
        try await connection.query(
            Statement("INSERT INTO \(tables.positions.sql) (ident) VALUES ($1) ON CONFLICT (ident) DO NOTHING"),
            [.text(archiver.description)])
        let rows = try await connection.query(
            Statement("SELECT last_evt_id FROM \(tables.positions.sql) WHERE ident = $1"), [.text(archiver.description)])
        return EventID(rows.int(0, 0) ?? 0)
    }

    /// Copies events and moves the position, in one transaction: each event is in the archive exactly once.
    ///
    /// Events that are there already, from before the position was kept, are left alone if they are the same.
    /// - Parameter events: in id order, with microseconds.
    /// - Returns: how many were new.
    /// - Throws: ``StoreError`` if an event is there already but differs; nothing is changed then.
    public func append(_ events: [Event], on connection: Connection) async throws -> Int {
        do {
            return try await append(events, on: connection, intoTable: tables.history.sql) {}
        } catch let error as PostgresError where error.sqlState == "23505" {
            return try await appendMissing(events, on: connection)
        }
    }

    private func append(
        _ events: [Event], on connection: Connection, intoTable table: String, then finish: () async throws -> Void
    ) async throws -> Int {
        try await connection.transaction {
            // Whoever else archives under this name waits here, and then finds the work done.
            let rows = try await connection.query(
                Statement(
                    "SELECT last_evt_id FROM \(tables.positions.sql) WHERE ident = $1 FOR UPDATE", name: "evt_lock_position"),
                [.text(archiver.description)])
            guard let position = rows.int(0, 0) else {
                throw StoreError("the position of \(archiver) is gone from \(tables.positions)")
            }
            let new = events.filter { $0.id.rawValue > position }
            guard let last = new.last?.id else { return 0 }
            if table != tables.history.sql {
                try await connection.query(
                    Statement("CREATE TEMP TABLE \(table) (LIKE \(tables.history.sql)) ON COMMIT DROP"))
            }
            try await connection.copyIn(
                "COPY \(table) (id, type, data, ts) FROM STDIN (FORMAT binary)", from: HistoryStore.copy(new))
            try await finish()
            try await connection.query(
                Statement(
                    "UPDATE \(tables.positions.sql) SET last_evt_id = $2::bigint, last_time = now() WHERE ident = $1",
                    name: "evt_move_position"), [.text(archiver.description), .int8(last.rawValue)])
            return new.count
        }
    }

    /// Some are there already: compares those, and copies the rest.
    private func appendMissing(_ events: [Event], on connection: Connection) async throws -> Int {
        var copied = 0
        _ = try await append(events, on: connection, intoTable: "evt_arriving") {
            // An archive of before has whole seconds, and JSON written anew.
            let different = try await connection.query(
                Statement(
                    """
                    SELECT a.id FROM evt_arriving a JOIN \(tables.history.sql) h ON h.id = a.id
                    WHERE h.type <> a.type OR date_trunc('second', h.ts) <> date_trunc('second', a.ts)
                        OR CASE WHEN h.data::text = a.data::text THEN false ELSE h.data::jsonb <> a.data::jsonb END
                    ORDER BY a.id LIMIT 10
                    """))
            guard different.count == 0 else {
                let ids = (0..<different.count).compactMap { different.string($0, 0) }.joined(separator: ", ")
                throw StoreError(
                    "the archive \(tables.history) already has other events under the ids \(ids): "
                        + "it belongs to another stream, or rows were changed; nothing was written")
            }
            copied = try await connection.query(
                Statement(
                    """
                    INSERT INTO \(tables.history.sql) (id, type, data, ts)
                    SELECT id, type, data, ts FROM evt_arriving a
                    WHERE NOT EXISTS (SELECT FROM \(tables.history.sql) h WHERE h.id = a.id)
                    """)
            ).affected
        }
        return copied
    }

    /// The events in PostgreSQL's binary COPY format (manual, COPY, "Binary Format").
    private static func copy(_ events: [Event]) -> CopySource {
        var rest = events[...]
        var isFirst = true
        var isDone = false
        return CopySource {
            guard !isDone else { return nil }
            var bytes: [UInt8] = []
            func append<Value: FixedWidthInteger>(_ value: Value) {
                withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
            }
            func append(field: [UInt8]) {
                append(Int32(field.count))
                bytes += field
            }
            if isFirst {
                bytes += Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00]
                append(Int32(0))
                append(Int32(0))
                isFirst = false
            }
            while bytes.count < 256 << 10, let event = rest.popFirst() {
                append(Int16(4))
                append(Int32(8))
                append(event.id.rawValue)
                append(field: event.type.utf8)
                append(field: event.data.bytes)
                append(Int32(8))
                append(event.timestamp.postgres)
            }
            if rest.isEmpty {
                append(Int16(-1))
                isDone = true
            }
            return bytes
        }
    }
}
