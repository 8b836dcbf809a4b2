public import EventStream
public import Postgres

/// A transaction that has recorded events and is still open; events recorded after its own wait for it.
public struct OpenWriter: Sendable, CustomStringConvertible {
    /// How the lock table names it.
    public let transaction: String
    /// The backend; nil for a prepared transaction.
    public let processID: Int?
    /// What PREPARE TRANSACTION called it; nil for a backend's.
    public let prepared: String?
    public let application: String
    public let user: String
    /// Of the backend: `active`, `idle in transaction`, …; `prepared` where there is none.
    public let state: String
    /// When the transaction began, or was prepared; UTC, as an ISO 8601 text; empty where the role may not see it.
    public let since: String
    /// Seconds since then.
    public let age: Double
    /// When its present or last statement began; UTC; empty for a prepared one.
    public let queryStart: String
    /// The statement, or the beginning of it; empty for a prepared one, and where the role may not see it.
    public let query: String

    public var description: String {
        if let prepared { return "prepared transaction '\(prepared)' (user \(user), prepared \(since))" }
        let who = "pid \(processID ?? 0) (\(application.isEmpty ? "no name" : application), user \(user)"
        guard !since.isEmpty else { return "\(who); grant pg_read_all_stats to see since when)" }
        return "\(who), \(state), transaction since \(since), last query began \(queryStart))"
    }

    /// What lets the stream go on.
    public var advice: String {
        if let prepared { return "COMMIT PREPARED \(quotedLiteral(prepared)) or ROLLBACK PREPARED \(quotedLiteral(prepared))" }
        return "commit or roll it back where it runs, or SELECT pg_terminate_backend(\(processID ?? 0))"
    }

    /// Who holds the lock that an INSERT takes, the oldest first.
    ///
    /// - Parameters:
    ///   - holders: only these; nil for all.
    ///   - seconds: only those open for longer.
    public static func load(
        _ info: StreamInfo, from connection: Connection, among holders: Set<SettledHorizon.Holder>? = nil,
        olderThan seconds: Int = 0
    ) async throws(PostgresError) -> [OpenWriter] {
        func utc(_ time: String) -> String { "to_char(\(time) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')" }
        // A prepared transaction keeps its locks without a process; its lock on its own id leads to its name.
        let rows = try await connection.query(
            Statement(
                """
                SELECT l.virtualtransaction, l.pid, p.gid, COALESCE(a.application_name, ''), COALESCE(a.usename, p.owner, ''),
                    CASE WHEN l.pid IS NULL THEN 'prepared' ELSE COALESCE(a.state, '') END, \(utc("COALESCE(a.xact_start, p.prepared)")),
                    EXTRACT(EPOCH FROM clock_timestamp() - COALESCE(a.xact_start, p.prepared)), \(utc("a.query_start")),
                    left(a.query, 200)
                FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
                    LEFT JOIN pg_locks t ON l.pid IS NULL AND t.locktype = 'transactionid' AND t.pid IS NULL
                        AND t.virtualtransaction = l.virtualtransaction
                    LEFT JOIN pg_prepared_xacts p ON p.transaction = t.transactionid
                WHERE l.locktype = 'relation' AND l.relation = \(info.tableOID) AND l.mode = 'RowExclusiveLock' AND l.granted
                    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND ($1::text[] IS NULL OR l.virtualtransaction = ANY ($1::text[]))
                    AND (clock_timestamp() - COALESCE(a.xact_start, p.prepared) >= $2::bigint * interval '1 second') IS NOT FALSE
                ORDER BY COALESCE(a.xact_start, p.prepared)
                """),
            [holders.map { .strings($0.map(\.transaction).sorted()) } ?? .null, .int8(Int64(seconds))])
        return (0..<rows.count).map { row in
            func text(_ column: Int) -> String { rows.string(row, column) ?? "" }
            return OpenWriter(
                transaction: text(0), processID: rows.int(row, 1).map { Int($0) }, prepared: rows.string(row, 2),
                application: text(3), user: text(4), state: text(5), since: text(6), age: Double(text(7)) ?? 0,
                queryStart: text(8),
                query: text(5).isEmpty ? "" : text(9))
        }
    }
}
