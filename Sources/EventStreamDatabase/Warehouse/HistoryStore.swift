package import EventStream
package import LibPQ

/// The warehouse: the history, and how far an archiver has come.
package struct HistoryStore: Sendable {
    package let tables: ArchiveTables
    /// Under this name the archiver keeps its position; as a consumer it has the same.
    package let archiver: ConsumerIdentity

    /// How an archiver stands.
    package struct Standing: Hashable, Sendable {
        /// Everything it wants up to here has been copied.
        package var position: EventID
        package var want: EventFilter
        /// The newest event past the position that is there nevertheless, of whatever type, if there is one: from a restore,
        /// an archiver of before, or one that shares the table.
        package var newest: EventID?
        /// The life of the active database the position belongs to; nil for a position of before there were any.
        package var generation: StreamGeneration?
        /// What was archived in an earlier generation and not compared with this one yet: after the first and up to the second of
        /// these ids. It may be in this generation, too, or lost.
        package var doubtfulAfter = EventID.none
        package var doubtful = EventID.none
        /// What the archiver that moved the position last has written beside it; nil if it was one of before there were any.
        package var token: String?
        package var hasDoubtful: Bool { doubtful > doubtfulAfter }
    }

    package enum Appended: Hashable, Sendable {
        /// So many events were new; so many of an earlier generation are not in this one and were set aside.
        case copied(Int, lost: Int)
        /// Nothing was written: the archiver does not stand where it believed to, but here.
        case moved(Standing)
    }

    /// The events are of a generation that is over: whoever sends them reads a database that was given up.
    package struct PastGeneration: Error, CustomStringConvertible {
        package let generation: StreamGeneration
        package var description: String {
            """
            the events are of the generation \(generation), which is over: the pusher reads a database that was given up, such as the \
            primary of before a fail-over. Stop that one, or take it out of the pusher's EVT_DATABASE_URL; if it is the one to keep, \
            `evt generation --renew` on it
            """
        }
    }

    /// Looks the archive up and checks that its schema is the one this program knows.
    ///
    /// - Parameter writing: whether an archive that a subscription feeds is of no use, as it is to whoever adds to it or trusts it.
    package static func load(
        _ tables: ArchiveTables, archiver: ConsumerIdentity, from connection: Connection, writing: Bool = true
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
        try TableGuard.checkEncoding(of: "warehouse", on: connection)
        try await TableGuard.look(at: qualified.all, on: connection).check(writing: writing)
        try await Migrator.check(qualified.schema, on: connection)
        // What is archived may be discarded next: a commit that a crash can take back will not do.
        try await connection.query(
            """
            SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
            """)
        return HistoryStore(tables: qualified, archiver: archiver)
    }

    /// Binary COPY writes bytes: into a column of another type it could write something else without an error.
    ///
    /// - Throws: ``StoreError`` if the history's columns are not of the types they were made with, or it has become one that hides
    ///   rows or is fed.
    package func checkColumns(on connection: Connection) async throws {
        try await TableGuard.look(at: tables.all, on: connection).check(writing: true)
        let rows = try await connection.query(
            Statement(
                """
                SELECT c.name, format_type(c.types[1], NULL), format_type(a.atttypid, NULL)
                FROM (VALUES ('id', ARRAY['pg_catalog.int8'::regtype]), ('type', ARRAY['pg_catalog.varchar'::regtype, 'pg_catalog.text', 'pg_catalog.bpchar']),
                        ('data', ARRAY['pg_catalog.json'::regtype]), ('ts', ARRAY['pg_catalog.timestamp'::regtype]),
                        ('key', ARRAY['pg_catalog.text'::regtype]), ('meta', ARRAY['pg_catalog.json'::regtype])) c (name, types)
                    LEFT JOIN pg_attribute a ON a.attrelid = \(quotedLiteral(tables.history.sql))::regclass AND a.attname = c.name
                        AND NOT a.attisdropped
                WHERE a.attname IS NULL OR a.atttypid <> ALL (c.types)
                """, name: "evt_history_columns"))
        guard rows.count > 0, let name = rows.string(0, 0), let expected = rows.string(0, 1) else { return }
        throw StoreError(
            """
            \(tables.history): the column \(name) is \(rows.string(0, 2) ?? "gone"), not \(expected) as `evt migrate` made it; nothing \
            is archived until that is put right
            """)
    }

    // MARK: Positions

    /// Takes up the archiver's work, and tells where it goes on.
    package func begin(_ want: EventFilter, on connection: Connection) async throws -> Standing {
        // Only where there is something to write: another archiver of this name may have the row locked.
        if try await standing(on: connection) == nil {
            try await connection.query(
                Statement(
                    "INSERT INTO \(tables.positions.sql) (ident, want) VALUES ($1, $2::text[]) ON CONFLICT (ident) DO NOTHING"),
                [.text(archiver.description), .types(want)])
        }
        var standing = try await present(on: connection)
        let newest = try await connection.query(
            Statement("SELECT id FROM \(tables.history.sql) WHERE id > $1::bigint ORDER BY id DESC LIMIT 1"),
            [.int8(standing.position.rawValue)])
        standing.want = want
        standing.newest = newest.int(0, 0).map { EventID($0) }
        return standing
    }

    private func otherStream(_ name: String, than origin: StreamOrigin) -> StoreError {
        StoreError(
            """
            \(tables.history) holds another stream, \(name), than the pusher sends, \(origin.generation.stream): nothing is archived. \
            Give each stream a history table of its own, or correct EVT_PUSHER_CONNECT
            """)
    }

    /// What was compared with events that are lost proves nothing: their part is taken out of the sums.
    private func trimSums(to id: EventID, on connection: Connection) async throws(PostgresError) {
        let parameters: [Parameter] = [.text(archiver.description), .int8(id.rawValue)]
        try await connection.query(
            Statement("DELETE FROM \(tables.sums.sql) WHERE ident = $1 AND first_id > $2::bigint"), parameters)
        try await connection.query(
            Statement(
                """
                UPDATE \(tables.sums.sql) s SET last_id = $2::bigint, events = s.events - gone.events, checksum = s.checksum - gone.sum
                FROM (SELECT s.first_id AS first, count(h.id) AS events, COALESCE(sum(\(ArchiveAudit.rowSum(of: "h"))), 0) AS sum
                    FROM \(tables.sums.sql) s LEFT JOIN \(tables.history.sql) h ON h.id > $2::bigint AND h.id <= s.last_id
                        AND \(EventFilter.condition("s.want", wants: "h.type"))
                    WHERE s.ident = $1 AND s.first_id <= $2::bigint AND s.last_id > $2::bigint GROUP BY 1) gone
                WHERE s.ident = $1 AND s.first_id = gone.first
                """), parameters)
    }

    /// - Throws: ``StoreError`` if this archiver has never been at work here.
    package func present(on connection: Connection) async throws -> Standing {
        guard let standing = try await standing(on: connection) else {
            throw StoreError("the position of \(archiver) is gone from \(tables.positions)")
        }
        return standing
    }

    /// Takes note of the generation that events are now of. Where it is another one than the position's, the position goes
    /// back to where the active database has it, and what was archived after that is doubtful. It goes back to the beginning of
    /// what is doubtful at the least: a warehouse that was restored must be sent all of that again. What is doubtful still since an
    /// earlier generation stays so.
    ///
    /// - Returns: how the archiver stands now.
    /// - Throws: ``StoreError`` if the history is of another stream, ``PastGeneration`` if that one is over; nothing is changed then.
    package func follow(_ origin: StreamOrigin, from standing: Standing, on connection: Connection) async throws -> Standing {
        let known = standing.generation
        guard known != origin.generation else { return standing }
        let parameters: [Parameter] = [
            .text(archiver.description), .text(origin.generation.stream), .text(origin.generation.id),
            .optional(known?.id), .int8(origin.generation.start.rawValue), .int8(origin.after.rawValue),
            .int8(origin.common.rawValue), .optional(standing.token),
        ]
        return try await connection.transaction {
            let others = try await connection.query(
                Statement("SELECT stream FROM \(tables.positions.sql) WHERE stream <> $1::text::uuid"),
                [.text(origin.generation.stream)])
            if let other = others.string(0, 0) { throw otherStream(other, than: origin) }
            if let present = try await self.standing(on: connection)?.generation, origin.generation.isBefore(present) {
                throw PastGeneration(generation: origin.generation)
            }
            let set = """
                UPDATE \(tables.positions.sql) SET stream = $2::text::uuid, generation = $3::text::uuid,
                    generation_start = $5::bigint
                """
            let unless = """
                WHERE ident = $1 AND generation IS NOT DISTINCT FROM $4::text::uuid AND token IS NOT DISTINCT FROM $8::text::uuid
                    AND $6::bigint IS NOT NULL AND $7::bigint IS NOT NULL
                """
            if known == nil {
                try await connection.query(Statement("\(set) \(unless)"), parameters)
            } else {
                let moved = try await connection.query(
                    Statement(
                        """
                        \(set), last_time = now(),
                            last_evt_id = LEAST(last_evt_id, $6::bigint, $7::bigint,
                                CASE WHEN doubtful_id > doubtful_after THEN doubtful_after END),
                            doubtful_after = CASE WHEN doubtful_id > doubtful_after THEN LEAST(doubtful_after, $7::bigint)
                                ELSE $7::bigint END,
                            doubtful_id = GREATEST(doubtful_id, last_evt_id, (SELECT max(id) FROM \(tables.history.sql)))
                        \(unless)
                        """), parameters)
                if moved.affected == 1 { try await trimSums(to: origin.common, on: connection) }
            }
            var now = try await present(on: connection)
            (now.want, now.newest) = (standing.want, standing.newest.map { max($0, now.doubtful) } ?? now.doubtful)
            return now
        }
    }

    /// Whether some events of these types are there already, in [first, last].
    package func holdsAny(
        _ want: EventFilter, from first: EventID, through last: EventID, on connection: Connection
    ) async throws(PostgresError) -> Bool {
        try await connection.query(
            Statement(
                """
                SELECT FROM \(tables.history.sql) WHERE id >= $1::bigint AND id <= $2::bigint
                    AND \(EventFilter.condition("$3::text[]", wants: "type")) LIMIT 1
                """), [.int8(first.rawValue), .int8(last.rawValue), .types(want)]
        ).count > 0
    }

    /// Every archiver that has been at work here, by name.
    package func archivers(on connection: Connection) async throws(PostgresError) -> [String] {
        let rows = try await connection.query(Statement("SELECT ident FROM \(tables.positions.sql) ORDER BY ident"))
        return (0..<rows.count).compactMap { rows.string($0, 0) }
    }

    /// How the archiver stands; nil if it has never been at work here.
    package func standing(on connection: Connection) async throws -> Standing? {
        let rows = try await connection.query(
            Statement(
                """
                SELECT last_evt_id, array_to_string(want, ','), stream, generation, doubtful_id, doubtful_after,
                    generation_start, token
                FROM \(tables.positions.sql) WHERE ident = $1
                """),
            [.text(archiver.description)])
        guard let position = rows.int(0, 0) else { return nil }
        guard let want = EventFilter(list: rows.string(0, 1)) else {
            throw StoreError("\(tables.positions): what \(archiver) wants, \(rows.string(0, 1) ?? ""), is no list of event types")
        }
        var generation: StreamGeneration?
        if let stream = rows.string(0, 2), let number = rows.string(0, 3) {
            generation = StreamGeneration(stream: stream, id: number, start: EventID(rows.int(0, 6) ?? 0))
        }
        return Standing(
            position: EventID(position), want: want, generation: generation, doubtfulAfter: EventID(rows.int(0, 5) ?? 0),
            doubtful: EventID(rows.int(0, 4) ?? 0), token: rows.string(0, 7))
    }

    /// Sets the position back, so that events are sent and compared again.
    ///
    /// - Throws: ``StoreError`` if this archiver has never been at work here.
    package func rewind(to position: EventID, on connection: Connection) async throws {
        let moved = try await connection.query(
            Statement(
                """
                UPDATE \(tables.positions.sql) SET last_evt_id = LEAST(last_evt_id, $2::bigint), last_time = now()
                WHERE ident = $1
                """), [.text(archiver.description), .int8(position.rawValue)])
        guard moved.affected == 1 else { throw StoreError("\(archiver) has never archived into \(tables.history)") }
    }
}

extension Parameter {
    /// A filter as `text[]`; NULL wants all.
    package static func types(_ want: EventFilter) -> Parameter {
        want.entries.map { .strings($0) } ?? .null
    }
}

extension EventFilter {
    /// Reads types separated by commas, as a table holds them; nil is all. Nothing for what is no list of types.
    init?(list: String?) {
        guard let list else {
            self = .all
            return
        }
        self.init(entries: list.split(separator: ","))
    }

    /// A condition: a type is wanted.
    ///
    /// - Parameters:
    ///   - want: an expression for the list of types and prefixes; NULL is all.
    ///   - type: an expression for the type.
    static func condition(_ want: String, wants type: String) -> String {
        """
        (\(want) IS NULL OR \(type) = ANY (\(want)) OR EXISTS (
            SELECT FROM unnest(\(want)) AS w (entry) WHERE right(entry, 1) = '*' AND starts_with(\(type), left(entry, -1))))
        """
    }
}
