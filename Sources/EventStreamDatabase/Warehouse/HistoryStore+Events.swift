package import EventStream
package import LibPQ

/// Events on their way into the history, and the partitions they go into.
extension HistoryStore {
    /// The columns of an event's row.
    static let columns = "id, type, data, ts, key, meta"

    /// Copies events and moves the position, in one transaction: each event is in the archive exactly once.
    ///
    /// - Parameters:
    ///   - events: in id order, with microseconds; all there are, of those wanted, past the position, or up to it.
    ///   - standing: how the archiver believes to stand; its want is noted with the position.
    ///   - comparing: whether some may be there already. They are accepted if they are the same, and made exact where
    ///     an archiver of before wrote whole seconds and JSON of its own, or knew neither key nor meta.
    ///   - completeFrom: what is missing up to here will never come; nil if nothing is known to be.
    /// - Throws: ``StoreError`` if an event is there already but differs; nothing is changed then.
    ///   ``PostgresError`` with state 55P03 if another archiver of this name is at it for longer than `lock_timeout`.
    package func append(
        _ events: ArraySlice<Event>, from standing: Standing, comparing: Bool, completeFrom: EventID? = nil,
        on connection: Connection
    ) async throws -> Appended {
        guard !events.isEmpty else { return .copied(0, lost: 0) }
        guard !comparing else { return try await compareAndAppend(events, from: standing, completeFrom, on: connection) }
        do {
            return try await connection.transaction {
                guard try await move(standing, over: events, completeFrom, on: connection) else {
                    return .moved(try await present(on: connection))
                }
                let events = try await withoutErased(events, on: connection)
                let count = try await connection.copyIn(
                    "COPY \(tables.history.sql) (\(HistoryStore.columns)) FROM STDIN (FORMAT binary)", from: CopySource(events))
                return .copied(count, lost: 0)
            }
        } catch let error as PostgresError where error.sqlState == .uniqueViolation {
            return try await compareAndAppend(events, from: standing, completeFrom, on: connection)
        }
    }

    /// False if the position is another, of another generation, or of another archiver. Whoever else archives under this name
    /// waits here, and then finds it moved.
    private func move(
        _ standing: Standing, over events: ArraySlice<Event>, _ completeFrom: EventID?, on connection: Connection
    ) async throws(PostgresError) -> Bool {
        // Of types that were not wanted before nothing is there up to the position.
        try await connection.query(
            Statement(
                """
                UPDATE \(tables.positions.sql) SET last_evt_id = GREATEST(last_evt_id, $3::bigint),
                    doubtful_after = GREATEST(doubtful_after, $3::bigint), last_time = now(),
                    want = CASE WHEN want IS DISTINCT FROM $4::text[] THEN $4::text[] ELSE want END,
                    complete_from = GREATEST(complete_from, $7::bigint, CASE WHEN want IS NOT NULL AND NOT COALESCE($4::text[] <@ want, false)
                        THEN last_evt_id END)
                WHERE ident = $1 AND last_evt_id = $2::bigint AND generation IS NOT DISTINCT FROM $5::text::uuid
                    AND token IS NOT DISTINCT FROM $6::text::uuid
                """, name: "evt_move_position"),
            [
                .text(archiver.description), .int8(standing.position.rawValue), .int8(events.last?.id.rawValue ?? 0),
                .types(standing.want), .optional(standing.generation?.id), .optional(standing.token),
                completeFrom.map { .int8($0.rawValue) } ?? .null,
            ]
        ).affected == 1
    }

    /// The events as they may be archived: data that was erased is not, wherever it was kept meanwhile.
    ///
    /// Called in a transaction that has moved the position: whoever erases waits for its end, or has been waited for.
    private func withoutErased(
        _ events: ArraySlice<Event>, on connection: Connection
    ) async throws(PostgresError) -> ArraySlice<Event> {
        let rows = try await connection.query(
            Statement(
                """
                SELECT id, type::text, round(EXTRACT(EPOCH FROM ts - timestamp '2000-01-01') * 1000000)::bigint
                FROM \(tables.erased.sql) WHERE id >= $1::bigint AND id <= $2::bigint
                """, name: "evt_erased"),
            [.int8(events.first?.id.rawValue ?? 0), .int8(events.last?.id.rawValue ?? 0)])
        guard rows.count > 0 else { return events }
        struct Key: Hashable { let id: Int64, type: String, time: Int64 }
        let erased = Set(
            (0..<rows.count).map {
                Key(id: rows.int($0, 0) ?? 0, type: rows.string($0, 1) ?? "", time: rows.int($0, 2) ?? 0)
            })
        return events.map { event in
            let key = Key(id: event.id.rawValue, type: event.type.description, time: event.timestamp.postgres)
            return erased.contains(key) ? event.erased : event
        }[...]
    }

    private func compareAndAppend(
        _ events: ArraySlice<Event>, from standing: Standing, _ completeFrom: EventID?, on connection: Connection
    ) async throws -> Appended {
        guard let first = events.first?.id, let last = events.last?.id else { return .copied(0, lost: 0) }
        // The range keeps the planner from reading all of the history.
        let both = "evt_arriving a JOIN \(tables.history.sql) h ON h.id = a.id AND h.id BETWEEN \(first) AND \(last)"
        let isInexact = "(h.ts <> a.ts OR h.data::text <> a.data::text OR \(HistoryStore.hasOtherKeyOrMeta("h", "a")))"
        return try await connection.transaction {
            guard try await move(standing, over: events, completeFrom, on: connection) else {
                return .moved(try await present(on: connection))
            }
            let events = try await withoutErased(events, on: connection)
            try await connection.script("CREATE TEMP TABLE evt_arriving (LIKE \(tables.history.sql)) ON COMMIT DROP")
            try await connection.copyIn(
                "COPY evt_arriving (\(HistoryStore.columns)) FROM STDIN (FORMAT binary)", from: CopySource(events))
            try await connection.script("ANALYZE evt_arriving")
            let lost = try await setAside(through: min(last, standing.doubtful), standing, on: connection)
            let different = try await ids(
                """
                FROM \(both) WHERE h.type <> a.type OR h.ts NOT IN (a.ts, date_trunc('second', a.ts))
                    OR CASE WHEN h.data::text = a.data::text THEN false ELSE h.data::jsonb <> a.data::jsonb END
                    OR (h.key IS NOT NULL OR h.meta IS NOT NULL) AND \(HistoryStore.hasOtherKeyOrMeta("h", "a"))
                """, orIncomparable: "FROM \(both) WHERE h.data::text <> a.data::text", on: connection)
            guard different.isEmpty else {
                throw StoreError(
                    "the archive \(tables.history) already has other events under the ids \(different): it belongs to another "
                        + "stream, rows were changed, or the active database went back and nobody noticed; nothing was written. If "
                        + "these rows are wrong, delete them there; if the active database was restored, `evt generation --renew`"
                )
            }
            if try await connection.query(Statement("SELECT FROM \(both) WHERE \(isInexact) LIMIT 1")).count > 0 {
                try await connection.query(
                    Statement(
                        """
                        UPDATE \(tables.history.sql) h SET data = a.data, ts = a.ts, key = a.key, meta = a.meta FROM evt_arriving a
                        WHERE h.id = a.id AND h.id BETWEEN \(first) AND \(last) AND \(isInexact)
                        """))
            }
            let count = try await connection.query(
                Statement(
                    """
                    INSERT INTO \(tables.history.sql) (\(HistoryStore.columns)) SELECT \(HistoryStore.columns) FROM evt_arriving
                    WHERE id NOT IN (SELECT a.id FROM \(both))
                    """)
            ).affected
            return .copied(count, lost: lost)
        }
    }

    /// Moves what was archived in an earlier generation, and is not among the events that have arrived, out of the history.
    ///
    /// - Returns: how many.
    private func setAside(
        through id: EventID, _ standing: Standing, on connection: Connection
    ) async throws(PostgresError) -> Int {
        guard id > standing.doubtfulAfter, let generation = standing.generation else { return 0 }
        return try await connection.query(
            Statement(
                """
                WITH gone AS (
                    DELETE FROM \(tables.history.sql) h WHERE h.id > $1::bigint AND h.id <= $2::bigint
                        AND NOT EXISTS (SELECT FROM evt_arriving a
                            WHERE a.id = h.id AND a.type = h.type AND a.ts = h.ts AND a.data::text = h.data::text
                                AND NOT \(HistoryStore.hasOtherKeyOrMeta("h", "a")))
                        -- Of another archiver's types only what is in the way of an event that has arrived.
                        AND (\(EventFilter.condition("$3::text[]", wants: "h.type"))
                            OR EXISTS (SELECT FROM evt_arriving a WHERE a.id = h.id))
                    RETURNING \(HistoryStore.columns))
                INSERT INTO \(tables.lost.sql) (\(HistoryStore.columns), ident, generation)
                SELECT \(HistoryStore.columns), $4, $5::text::uuid FROM gone
                """),
            [
                .int8(standing.doubtfulAfter.rawValue), .int8(id.rawValue), .types(standing.want), .text(archiver.description),
                .text(generation.id),
            ]
        ).affected
    }

    /// A condition: one row has another key or another meta than another row.
    static func hasOtherKeyOrMeta(_ row: String, _ other: String) -> String {
        "(\(row).key IS DISTINCT FROM \(other).key OR \(row).meta::text IS DISTINCT FROM \(other).meta::text)"
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
            guard [.invalidTextRepresentation, .untranslatableCharacter, .numericValueOutOfRange].contains(error.sqlState) else {
                throw error
            }
            // Legal JSON that jsonb cannot hold: \u0000, a lone surrogate, a number too large.
            try await connection.query("ROLLBACK TO evt_comparing")
            return try await list(other)
        }
    }

    /// Makes the partitions for this month and the next three, and for those of the times given, as far as they are of the
    /// last two years; events of other times go into the default partition, and so do those of months that have expired.
    ///
    /// - Returns: how many were made.
    @discardableResult
    package func makePartitions(for times: [EventTimestamp] = [], on connection: Connection) async throws -> Int {
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
                    """
                    SELECT \(tables.partitions.sql)(d, d) FROM (SELECT LEAST(\(month), \(utc) + interval '3 months')::date AS d) m
                    WHERE NOT EXISTS (
                        SELECT FROM \(tables.expired.sql) e WHERE e.month = date_trunc('month', m.d::timestamp)::date)
                    """))
            made += Int(rows.int(0, 0) ?? 0)
        }
        return made
    }
}
