package import EventStream
package import LibPQ

/// Events that were moved out of an archive's history because the active database had not got them any more.
///
/// `evt archive verify` names them until a person has put them back or accepted the loss: the database that lacked them may
/// have been the wrong one.
package struct LostEvents: Sendable {
    private let history: HistoryStore
    private var lost: String { history.tables.lost.sql }

    package init(_ history: HistoryStore) { self.history = history }

    package struct Row: Sendable {
        package let id: EventID
        package let type: String
        /// When it was moved out; UTC, as an ISO 8601 text.
        package let moved: String
        /// The generation of the stream that lacked it.
        package let generation: String
        /// Who archived it.
        package let archiver: String
        /// When the loss was accepted, and why; nil if it was not.
        package let acceptance: String?
    }

    /// What nobody has put back or accepted.
    package struct Open: Hashable, Sendable {
        package let events: Int
        package let first: EventID
        package let last: EventID
    }

    private func range(_ first: EventID, _ last: EventID) -> [Parameter] {
        [.text(history.archiver.description), .int8(first.rawValue), .int8(last.rawValue)]
    }
    private let isChosen = "ident = $1 AND id >= $2::bigint AND id <= $3::bigint"

    /// The rows of this archiver in [first, last] that follow one, in the order of their ids, at most so many.
    package func list(
        from first: EventID, through last: EventID, limit: Int, on connection: Connection
    ) async throws(PostgresError) -> [Row] {
        let iso = "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'"
        let rows = try await connection.query(
            Statement(
                """
                SELECT id, type, to_char(moved AT TIME ZONE 'UTC', \(iso)), generation, ident,
                    to_char(accepted AT TIME ZONE 'UTC', \(iso)) || COALESCE(': ' || acceptance, '')
                FROM \(lost) WHERE \(isChosen) ORDER BY id, moved LIMIT $4::bigint
                """), range(first, last) + [.int8(Int64(limit))])
        return (0..<rows.count).map { row in
            Row(
                id: EventID(rows.int(row, 0) ?? 0), type: rows.string(row, 1) ?? "", moved: rows.string(row, 2) ?? "",
                generation: rows.string(row, 3) ?? "", archiver: rows.string(row, 4) ?? "", acceptance: rows.string(row, 5))
        }
    }

    /// What has not been put back or accepted in [first, last]; nil if there is nothing.
    package func open(
        from first: EventID = EventID(.min), through last: EventID = EventID(.max), on connection: Connection
    ) async throws(PostgresError) -> Open? {
        let rows = try await connection.query(
            Statement("SELECT count(*), min(id), max(id) FROM \(lost) WHERE \(isChosen) AND accepted IS NULL"),
            range(first, last))
        guard let count = rows.int(0, 0), count > 0 else { return nil }
        return Open(events: Int(count), first: EventID(rows.int(0, 1) ?? 0), last: EventID(rows.int(0, 2) ?? 0))
    }

    /// Puts events back into the history, those whose id is free there or has the same event.
    ///
    /// - Returns: how many were put back, and the ids under which the history, or another of these rows, has another event.
    package func restore(
        from first: EventID, through last: EventID, on connection: Connection
    ) async throws -> (events: Int, conflicts: [EventID]) {
        func differs(_ other: String) -> String {
            "(\(other).type <> l.type OR \(other).ts <> l.ts OR \(other).data::text <> l.data::text OR "
                + "\(HistoryStore.hasOtherKeyOrMeta(other, "l")))"
        }
        return try await connection.transaction {
            // No batch is on its way meanwhile.
            try await connection.query(
                Statement("SELECT FROM \(history.tables.positions.sql) WHERE ident = $1 FOR UPDATE"),
                [.text(history.archiver.description)])
            let found = try await connection.query(
                Statement(
                    """
                    SELECT DISTINCT id FROM \(lost) l WHERE \(isChosen)
                        AND (EXISTS (SELECT FROM \(history.tables.history.sql) h WHERE h.id = l.id AND \(differs("h")))
                            OR EXISTS (SELECT FROM \(lost) o WHERE o.ident = l.ident AND o.id = l.id AND \(differs("o"))))
                    ORDER BY id
                    """), range(first, last))
            let conflicts = (0..<found.count).compactMap { found.int($0, 0) }
            let back = try await connection.query(
                Statement(
                    """
                    WITH back AS (DELETE FROM \(lost) WHERE \(isChosen) AND id <> ALL ($4::bigint[]) RETURNING \(HistoryStore.columns))
                    INSERT INTO \(history.tables.history.sql) (\(HistoryStore.columns))
                    SELECT DISTINCT ON (id) \(HistoryStore.columns) FROM back
                    WHERE NOT EXISTS (SELECT FROM \(history.tables.history.sql) h WHERE h.id = back.id)
                    """), range(first, last) + [.int8Array(conflicts)])
            return (back.affected, conflicts.map { EventID($0) })
        }
    }

    /// Notes that a person has accepted the loss; the rows stay.
    ///
    /// - Returns: of how many.
    package func accept(
        from first: EventID, through last: EventID, because reason: String, on connection: Connection
    ) async throws(PostgresError) -> Int {
        try await connection.query(
            Statement("UPDATE \(lost) SET accepted = now(), acceptance = $4 WHERE \(isChosen) AND accepted IS NULL"),
            range(first, last) + [.text(reason)]
        ).affected
    }
}
