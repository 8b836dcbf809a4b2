import EventStream
package import LibPQ

/// Erasures in an archive: the record, by which nothing is archived again, and the data in its tables.
package struct ArchiveErasures: Sendable {
    private let tables: ArchiveTables

    package init(_ history: HistoryStore) { tables = history.tables }

    func found(
        _ ids: [EventID], on connection: Connection
    ) async throws(PostgresError) -> [(place: ErasurePlan.Place, event: ErasedEvent)] {
        try await ErasedEvents.found(in: tables.history, ids, on: connection).map { (.archive, $0) }
            + ErasedEvents.found(in: tables.lost, ids, on: connection).map { (.aside, $0) }
    }

    /// Every erasure that has reached this archive.
    package func list(on connection: Connection) async throws(PostgresError) -> [Erasure] {
        let rows = try await connection.query(
            Statement(
                """
                SELECT min(number) OVER (PARTITION BY erasure), erasure, reason, by,
                    to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), NULL, NULL,
                    id, type, to_char(ts, \(ErasedEvents.time))
                FROM \(tables.erased.sql) ORDER BY 1, id, ts
                """))
        return Erasure.list(rows) { _ in .begun }
    }

    /// The keys of the erasures that have reached this archive.
    func keys(on connection: Connection) async throws(PostgresError) -> [String] {
        let rows = try await connection.query(Statement("SELECT DISTINCT erasure FROM \(tables.erased.sql)"))
        return (0..<rows.count).compactMap { rows.string($0, 0) }
    }

    /// Grows with each erasure that reaches the archive.
    package func newest(on connection: Connection) async throws(PostgresError) -> Int64 {
        try await connection.query(Statement("SELECT max(number) FROM \(tables.erased.sql)")).int(0, 0) ?? 0
    }

    /// Records an erasure, erases the data in the history and in what was set aside, and lets the sums be those of what is there now,
    /// in one transaction. What is wrong with other events stays known: the sums are not made anew of what is there.
    ///
    /// - Returns: of how many rows the data is gone now.
    package func erase(_ erasure: Erasure, on connection: Connection) async throws -> Int {
        let events = ErasedEvents.parameters(erasure.events)
        return try await connection.transaction {
            // Whoever waits for these locks must not wait for a command that is frozen.
            try await connection.query("SET LOCAL idle_in_transaction_session_timeout = '10s'")
            try await connection.query("SET LOCAL enable_seqscan = off")
            // No batch of an archiver is on its way from here on, no month expires, and nothing that was set aside is put back.
            try await connection.query(Statement("LOCK TABLE \(tables.positions.sql) IN EXCLUSIVE MODE"))
            // Nor are sums recorded of what was compared before: who records them looks at the record of erasures afterwards.
            try await connection.query(Statement("LOCK TABLE \(tables.sums.sql) IN EXCLUSIVE MODE"))
            try await connection.query(
                Statement(
                    """
                    INSERT INTO \(tables.erased.sql) (id, type, ts, erasure, reason, by, at)
                    SELECT id, type, ts, $4::text::uuid, $5, $6, $7::text::timestamptz FROM \(ErasedEvents.rows)
                    ON CONFLICT (erasure, id, type, ts) DO NOTHING
                    """), events + [.text(erasure.key), .text(erasure.reason), .text(erasure.role), .text(erasure.at)])
            try await connection.query(
                Statement(
                    """
                    UPDATE \(tables.sums.sql) r SET checksum = r.checksum + d.change
                    FROM (SELECT s.ident, s.first_id, sum((\(ArchiveAudit.rowSum(of: "n")))::numeric - \(ArchiveAudit.rowSum(of: "h"))) AS change
                        FROM \(ErasedEvents.rows) JOIN \(tables.history.sql) h ON \(ErasedEvents.isOne("h"))
                            CROSS JOIN LATERAL (SELECT h.id, h.ts, h.type, \(ErasedEvents.null)::json AS data,
                                NULL::text AS key, NULL::json AS meta) n
                            JOIN \(tables.sums.sql) s ON h.id >= s.first_id AND h.id <= s.last_id
                                AND \(EventFilter.condition("s.want", wants: "h.type"))
                        GROUP BY 1, 2) d
                    WHERE r.ident = d.ident AND r.first_id = d.first_id
                    """), events)
            return try await ErasedEvents.erase(erasure.events, in: tables.history, on: connection)
                + ErasedEvents.erase(erasure.events, in: tables.lost, on: connection)
        }
    }
}
