public import EventStream
public import Postgres

/// The warehouse: the history, and how far an archiver has come.
public struct HistoryStore: Sendable {
    public let tables: ArchiveTables
    /// Under this name the archiver keeps its position; as a consumer it has the same.
    public let archiver: ConsumerIdentity

    /// How an archiver stands.
    public struct Standing: Hashable, Sendable {
        /// Everything it wants up to here has been copied.
        public var position: EventID
        public var want: EventFilter
        /// The newest event past the position that is there nevertheless, if there is one: from a restore, or another
        /// archiver of before.
        public var newest: EventID?
    }

    public enum Appended: Hashable, Sendable {
        /// So many events were new.
        case copied(Int)
        /// Nothing was written: the position is not the one that was given, but this.
        case moved(EventID)
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
        return HistoryStore(tables: qualified, archiver: archiver)
    }

    // MARK: Positions

    /// Takes up the archiver's work: notes what it copies, and tells where it goes on.
    public func begin(_ want: EventFilter, on connection: Connection) async throws -> Standing {
        // Only where there is something to write: another archiver of this name may have the row locked.
        if try await standing(on: connection)?.want != want {
            try await connection.query(
                Statement(
                    """
                    INSERT INTO \(tables.positions.sql) (ident, want) VALUES ($1, $2::text[])
                    ON CONFLICT (ident) DO UPDATE SET want = EXCLUDED.want
                    """), [.text(archiver.description), .types(want)])
        }
        let position = try await position(on: connection)
        let newest = try await connection.query(
            Statement(
                """
                SELECT id FROM \(tables.history.sql) WHERE id > $1::bigint AND ($2::text[] IS NULL OR type = ANY ($2::text[]))
                ORDER BY id DESC LIMIT 1
                """), [.int8(position.rawValue), .types(want)])
        return Standing(position: position, want: want, newest: newest.int(0, 0).map { EventID($0) })
    }

    /// - Throws: ``StoreError`` if this archiver has never been at work here.
    func position(on connection: Connection) async throws -> EventID {
        guard let standing = try await standing(on: connection) else {
            throw StoreError("the position of \(archiver) is gone from \(tables.positions)")
        }
        return standing.position
    }

    /// How the archiver stands; nil if it has never been at work here.
    public func standing(on connection: Connection) async throws -> Standing? {
        let rows = try await connection.query(
            Statement("SELECT last_evt_id, array_to_string(want, ',') FROM \(tables.positions.sql) WHERE ident = $1"),
            [.text(archiver.description)])
        guard let position = rows.int(0, 0) else { return nil }
        return Standing(position: EventID(position), want: EventFilter(list: rows.string(0, 1)))
    }

    /// Sets the position back, so that events are sent and compared again.
    public func rewind(to position: EventID, on connection: Connection) async throws {
        try await connection.query(
            Statement(
                """
                UPDATE \(tables.positions.sql) SET last_evt_id = LEAST(last_evt_id, $2::bigint), last_time = now()
                WHERE ident = $1
                """),
            [.text(archiver.description), .int8(position.rawValue)])
    }

    // MARK: Events

    /// Copies events and moves the position, in one transaction: each event is in the archive exactly once.
    ///
    /// - Parameters:
    ///   - events: in id order, with microseconds, all past the position.
    ///   - position: where the archiver believes to be.
    ///   - comparing: whether some may be there already. They are accepted if they are the same, and made exact where
    ///     an archiver of before wrote whole seconds and JSON of its own.
    /// - Throws: ``StoreError`` if an event is there already but differs; nothing is changed then.
    ///   ``PostgresError`` with state 55P03 if another archiver of this name is at it for longer than `lock_timeout`.
    public func append(
        _ events: ArraySlice<Event>, after position: EventID, comparing: Bool, on connection: Connection
    ) async throws -> Appended {
        guard let last = events.last?.id else { return .copied(0) }
        guard !comparing else { return try await compareAndAppend(events, after: position, through: last, on: connection) }
        do {
            return try await connection.transaction {
                guard try await move(from: position, to: last, on: connection) else {
                    return .moved(try await self.position(on: connection))
                }
                return .copied(
                    try await connection.copyIn(
                        "COPY \(tables.history.sql) (id, type, data, ts) FROM STDIN (FORMAT binary)", from: CopySource(events)))
            }
        } catch let error as PostgresError where error.sqlState == "23505" {
            return try await compareAndAppend(events, after: position, through: last, on: connection)
        }
    }

    /// Ends a transaction of this name's in which nothing has come from the client for so long: a frozen process, or one whose
    /// machine is gone, would keep the position locked for as long as its connection lives.
    public func endSilentHolder(silentFor patience: Duration, on connection: Connection) async throws(PostgresError) {
        try await connection.query(
            Statement(
                """
                SELECT pg_terminate_backend(a.pid)
                FROM \(tables.positions.sql) p
                    JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = p.xmax AND l.granted
                    JOIN pg_stat_activity a ON a.pid = l.pid
                WHERE p.ident = $1 AND a.wait_event = 'ClientRead'
                    AND a.state_change < clock_timestamp() - $2::bigint * interval '1 millisecond'
                """), [.text(archiver.description), .int8(Int64(patience / .milliseconds(1)))])
    }

    /// False if the position is another. Whoever else archives under this name waits here, and then finds it moved.
    private func move(from position: EventID, to last: EventID, on connection: Connection) async throws -> Bool {
        try await connection.query(
            Statement(
                """
                UPDATE \(tables.positions.sql) SET last_evt_id = $3::bigint, last_time = now()
                WHERE ident = $1 AND last_evt_id = $2::bigint
                """, name: "evt_move_position"),
            [.text(archiver.description), .int8(position.rawValue), .int8(last.rawValue)]
        ).affected == 1
    }

    private func compareAndAppend(
        _ events: ArraySlice<Event>, after position: EventID, through last: EventID, on connection: Connection
    ) async throws -> Appended {
        let history = tables.history.sql
        return try await connection.transaction {
            guard try await move(from: position, to: last, on: connection) else {
                return .moved(try await self.position(on: connection))
            }
            try await connection.query(Statement("CREATE TEMP TABLE evt_arriving (LIKE \(history)) ON COMMIT DROP"))
            try await connection.copyIn(
                "COPY evt_arriving (id, type, data, ts) FROM STDIN (FORMAT binary)", from: CopySource(events))
            try await connection.script("ANALYZE evt_arriving")
            let different = try await connection.query(
                Statement(
                    """
                    SELECT a.id FROM evt_arriving a JOIN \(history) h ON h.id = a.id
                    WHERE h.type <> a.type OR h.ts NOT IN (a.ts, date_trunc('second', a.ts))
                        OR CASE WHEN h.data::text = a.data::text THEN false ELSE h.data::jsonb <> a.data::jsonb END
                    ORDER BY a.id LIMIT 10
                    """))
            guard different.count == 0 else {
                let ids = (0..<different.count).compactMap { different.string($0, 0) }.joined(separator: ", ")
                throw StoreError(
                    "the archive \(tables.history) already has other events under the ids \(ids): "
                        + "it belongs to another stream, or rows were changed; nothing was written")
            }
            let inexact = try await connection.query(
                Statement(
                    """
                    SELECT FROM evt_arriving a JOIN \(history) h ON h.id = a.id
                    WHERE h.ts <> a.ts OR h.data::text <> a.data::text LIMIT 1
                    """))
            if inexact.count > 0 {
                try await connection.query(
                    Statement(
                        """
                        UPDATE \(history) h SET data = a.data, ts = a.ts FROM evt_arriving a
                        WHERE h.id = a.id AND (h.ts <> a.ts OR h.data::text <> a.data::text)
                        """))
            }
            return .copied(
                try await connection.query(
                    Statement(
                        """
                        INSERT INTO \(history) (id, type, data, ts) SELECT id, type, data, ts FROM evt_arriving a
                        WHERE NOT EXISTS (SELECT FROM \(history) h WHERE h.id = a.id)
                        """)
                ).affected)
        }
    }

    /// Makes the partitions for the months to come, and for those of the times given, as far as they are of the last two
    /// years; events of other times go into the default partition.
    ///
    /// - Returns: how many were made.
    @discardableResult
    public func makePartitions(for times: [EventTimestamp] = [], on connection: Connection) async throws -> Int {
        let utc = "(now() AT TIME ZONE 'UTC')"
        let first = times.min().map { "to_timestamp(\($0.microseconds / 1_000_000)) AT TIME ZONE 'UTC'" } ?? utc
        let rows = try await connection.query(
            Statement(
                """
                SELECT \(tables.partitions.sql)(LEAST(\(utc), GREATEST(\(utc) - interval '2 years', \(first)))::date,
                    (\(utc) + interval '3 months')::date)
                """))
        return Int(rows.int(0, 0) ?? 0)
    }
}

extension Parameter {
    /// A filter as `text[]`; NULL wants all.
    static func types(_ want: EventFilter) -> Parameter {
        want.types.map { .strings($0.map(\.description).sorted()) } ?? .null
    }
}

extension EventFilter {
    /// Reads types separated by commas, as a table holds them; nil is all.
    init(list: String?) {
        let types = list.map { Set($0.split(separator: ",").compactMap { EventType(String($0)) }) }
        self = EventFilter(types) ?? .all
    }
}
