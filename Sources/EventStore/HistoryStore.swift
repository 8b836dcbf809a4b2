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
        /// The newest event past the position that is there nevertheless, of whatever type, if there is one: from a restore,
        /// an archiver of before, or one that shares the table.
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
        // What is archived may be discarded next: a commit that a crash can take back will not do.
        try await connection.query(
            """
            SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
            """)
        return HistoryStore(tables: qualified, archiver: archiver)
    }

    // MARK: Positions

    /// Takes up the archiver's work, and tells where it goes on.
    public func begin(_ want: EventFilter, on connection: Connection) async throws -> Standing {
        // Only where there is something to write: another archiver of this name may have the row locked.
        if try await standing(on: connection) == nil {
            try await connection.query(
                Statement(
                    "INSERT INTO \(tables.positions.sql) (ident, want) VALUES ($1, $2::text[]) ON CONFLICT (ident) DO NOTHING"),
                [.text(archiver.description), .types(want)])
        }
        let position = try await position(on: connection)
        let newest = try await connection.query(
            Statement("SELECT id FROM \(tables.history.sql) WHERE id > $1::bigint ORDER BY id DESC LIMIT 1"),
            [.int8(position.rawValue)])
        return Standing(position: position, want: want, newest: newest.int(0, 0).map { EventID($0) })
    }

    /// Whether some events of these types are there already, in [first, last].
    public func holdsAny(
        _ want: EventFilter, from first: EventID, through last: EventID, on connection: Connection
    ) async throws(PostgresError) -> Bool {
        try await connection.query(
            Statement(
                """
                SELECT FROM \(tables.history.sql) WHERE id >= $1::bigint AND id <= $2::bigint
                    AND ($3::text[] IS NULL OR type = ANY ($3::text[])) LIMIT 1
                """), [.int8(first.rawValue), .int8(last.rawValue), .types(want)]
        ).count > 0
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
        guard let want = EventFilter(list: rows.string(0, 1)) else {
            throw StoreError("\(tables.positions): what \(archiver) wants, \(rows.string(0, 1) ?? ""), is no list of event types")
        }
        return Standing(position: EventID(position), want: want)
    }

    /// Sets the position back, so that events are sent and compared again.
    ///
    /// - Throws: ``StoreError`` if this archiver has never been at work here.
    public func rewind(to position: EventID, on connection: Connection) async throws {
        let moved = try await connection.query(
            Statement(
                """
                UPDATE \(tables.positions.sql) SET last_evt_id = LEAST(last_evt_id, $2::bigint), last_time = now()
                WHERE ident = $1
                """), [.text(archiver.description), .int8(position.rawValue)])
        guard moved.affected == 1 else { throw StoreError("\(archiver) has never archived into \(tables.history)") }
    }

    // MARK: Events

    /// Copies events and moves the position, in one transaction: each event is in the archive exactly once.
    ///
    /// - Parameters:
    ///   - events: in id order, with microseconds, all past the position.
    ///   - want: what this archiver copies; it is noted with the position.
    ///   - position: where the archiver believes to be.
    ///   - comparing: whether some may be there already. They are accepted if they are the same, and made exact where
    ///     an archiver of before wrote whole seconds and JSON of its own.
    /// - Throws: ``StoreError`` if an event is there already but differs; nothing is changed then.
    ///   ``PostgresError`` with state 55P03 if another archiver of this name is at it for longer than `lock_timeout`.
    public func append(
        _ events: ArraySlice<Event>, _ want: EventFilter, after position: EventID, comparing: Bool, on connection: Connection
    ) async throws -> Appended {
        guard let last = events.last?.id else { return .copied(0) }
        guard !comparing else { return try await compareAndAppend(events, want, after: position, on: connection) }
        do {
            return try await connection.transaction {
                guard try await move(from: position, to: last, want, on: connection) else {
                    return .moved(try await self.position(on: connection))
                }
                return .copied(
                    try await connection.copyIn(
                        "COPY \(tables.history.sql) (id, type, data, ts) FROM STDIN (FORMAT binary)", from: CopySource(events)))
            }
        } catch let error as PostgresError where error.sqlState == "23505" {
            return try await compareAndAppend(events, want, after: position, on: connection)
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
    private func move(
        from position: EventID, to last: EventID, _ want: EventFilter, on connection: Connection
    ) async throws(PostgresError) -> Bool {
        try await connection.query(
            Statement(
                """
                UPDATE \(tables.positions.sql) SET last_evt_id = $3::bigint, want = $4::text[], last_time = now()
                WHERE ident = $1 AND last_evt_id = $2::bigint
                """, name: "evt_move_position"),
            [.text(archiver.description), .int8(position.rawValue), .int8(last.rawValue), .types(want)]
        ).affected == 1
    }

    private func compareAndAppend(
        _ events: ArraySlice<Event>, _ want: EventFilter, after position: EventID, on connection: Connection
    ) async throws -> Appended {
        guard let first = events.first?.id, let last = events.last?.id else { return .copied(0) }
        // The range keeps the planner from reading all of the history.
        let both = "evt_arriving a JOIN \(tables.history.sql) h ON h.id = a.id AND h.id BETWEEN \(first) AND \(last)"
        let isInexact = "(h.ts <> a.ts OR h.data::text <> a.data::text)"
        return try await connection.transaction {
            guard try await move(from: position, to: last, want, on: connection) else {
                return .moved(try await self.position(on: connection))
            }
            try await connection.script("CREATE TEMP TABLE evt_arriving (LIKE \(tables.history.sql)) ON COMMIT DROP")
            try await connection.copyIn(
                "COPY evt_arriving (id, type, data, ts) FROM STDIN (FORMAT binary)", from: CopySource(events))
            try await connection.script("ANALYZE evt_arriving")
            let different = try await ids(
                """
                FROM \(both) WHERE h.type <> a.type OR h.ts NOT IN (a.ts, date_trunc('second', a.ts))
                    OR CASE WHEN h.data::text = a.data::text THEN false ELSE h.data::jsonb <> a.data::jsonb END
                """, orIncomparable: "FROM \(both) WHERE h.data::text <> a.data::text", on: connection)
            guard different.isEmpty else {
                throw StoreError(
                    "the archive \(tables.history) already has other events under the ids \(different): it belongs to another "
                        + "stream, or rows were changed; nothing was written. If these are wrong, delete them there")
            }
            if try await connection.query(Statement("SELECT FROM \(both) WHERE \(isInexact) LIMIT 1")).count > 0 {
                try await connection.query(
                    Statement(
                        """
                        UPDATE \(tables.history.sql) h SET data = a.data, ts = a.ts FROM evt_arriving a
                        WHERE h.id = a.id AND h.id BETWEEN \(first) AND \(last) AND \(isInexact)
                        """))
            }
            return .copied(
                try await connection.query(
                    Statement(
                        """
                        INSERT INTO \(tables.history.sql) (id, type, data, ts) SELECT id, type, data, ts FROM evt_arriving
                        WHERE id NOT IN (SELECT a.id FROM \(both))
                        """)
                ).affected)
        }
    }

    /// - Returns: the first ids of a query, as a list for people; empty if there are none.
    private func ids(_ query: String, orIncomparable other: String, on connection: Connection) async throws -> String {
        func list(_ query: String) async throws(PostgresError) -> String {
            let rows = try await connection.query(Statement("SELECT a.id \(query) ORDER BY a.id LIMIT 10"))
            return (0..<rows.count).compactMap { rows.string($0, 0) }.joined(separator: ", ")
        }
        try await connection.query("SAVEPOINT evt_comparing")
        do {
            return try await list(query)
        } catch {
            guard ["22P02", "22P05", "22003"].contains(error.sqlState) else { throw error }
            // Legal JSON that jsonb cannot hold: \u0000, a lone surrogate, a number too large.
            try await connection.query("ROLLBACK TO evt_comparing")
            return try await list(other)
        }
    }

    /// Makes the partitions for this month and the next three, and for those of the times given, as far as they are of the
    /// last two years; events of other times go into the default partition.
    ///
    /// - Returns: how many were made.
    @discardableResult
    public func makePartitions(for times: [EventTimestamp] = [], on connection: Connection) async throws -> Int {
        let utc = "(now() AT TIME ZONE 'UTC')"
        let months =
            (0...3).map { "\(utc) + interval '\($0) months'" }
            + times.map {
                "GREATEST(\(utc) - interval '2 years', to_timestamp(\($0.microseconds / 1_000_000)) AT TIME ZONE 'UTC')"
            }
        var made = 0
        // Each in a transaction of its own: locks are held for a moment only.
        for month in months {
            let rows = try await connection.query(
                Statement(
                    "SELECT \(tables.partitions.sql)(d, d) FROM (SELECT LEAST(\(month), \(utc) + interval '3 months')::date AS d) m"
                ))
            made += Int(rows.int(0, 0) ?? 0)
        }
        return made
    }
}

extension Parameter {
    /// A filter as `text[]`; NULL wants all.
    static func types(_ want: EventFilter) -> Parameter {
        want.types.map { .strings($0.map(\.description).sorted()) } ?? .null
    }
}

extension EventFilter {
    /// Reads types separated by commas, as a table holds them; nil is all. Nothing for what is no list of types.
    init?(list: String?) {
        let types = list.map { $0.split(separator: ",").map { EventType(String($0)) } }
        guard types?.contains(nil) != true else { return nil }
        self.init(types.map { Set($0.compactMap { $0 }) })
    }
}
