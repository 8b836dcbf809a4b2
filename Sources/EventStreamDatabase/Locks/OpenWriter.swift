package import EventStream
package import LibPQ

/// A transaction that has recorded events and is still open; events recorded after its own wait for it.
package struct OpenWriter: Sendable, CustomStringConvertible {
    /// How the lock table names it.
    package let transaction: String
    /// The backend; nil for a prepared transaction.
    package let processID: Int?
    /// What PREPARE TRANSACTION called it; nil for a backend's.
    package let prepared: String?
    package let application: String
    package let user: String
    /// Of the backend: `active`, `idle in transaction`, …; `prepared` where there is none.
    package let state: String
    /// When the transaction began, or was prepared; UTC, as an ISO 8601 text; empty where the role may not see it.
    package let since: String
    /// Seconds since then.
    package let age: Double
    /// When its present or last statement began; UTC; empty for a prepared one.
    package let queryStart: String
    /// The statement, or the beginning of it; empty for a prepared one, and where the role may not see it.
    package let query: String

    /// Of one that has committed and waits for a synchronous standby: what the server is told to wait for, and which are connected; else
    /// nil.
    package let standbys: String?

    package var description: String {
        if let prepared { return "prepared transaction '\(prepared)' (user \(user), prepared \(since))" }
        let who = "pid \(processID ?? 0) (\(application.isEmpty ? "no name" : application), user \(user)"
        guard !since.isEmpty else { return "\(who); grant pg_read_all_stats to see since when)" }
        if let standbys { return "\(who), its commit waits for a synchronous standby since \(queryStart); \(standbys))" }
        return "\(who), \(state), transaction since \(since), last query began \(queryStart))"
    }

    /// What lets the stream go on.
    package var advice: String {
        if let prepared { return "COMMIT PREPARED \(quotedLiteral(prepared)) or ROLLBACK PREPARED \(quotedLiteral(prepared))" }
        if standbys != nil {
            return "bring the standby back, or change synchronous_standby_names and SELECT pg_reload_conf(); do not cancel or "
                + "terminate the backend: its events would become visible and be delivered although they are on no standby"
        }
        return "commit or roll it back where it runs, or SELECT pg_terminate_backend(\(processID ?? 0))"
    }

    /// Who holds the lock that an INSERT takes, the oldest first. Found in catalogs alone.
    ///
    /// - Parameters:
    ///   - holders: only these; nil for all.
    ///   - seconds: only those open for longer.
    package static func load(
        _ tables: StreamTables, from connection: Connection, among holders: Set<TableWriter>? = nil,
        olderThan seconds: Int = 0
    ) async throws(PostgresError) -> [OpenWriter] {
        let rows = try await connection.query(
            Statement(
                """
                SELECT CASE WHEN a.wait_event = 'SyncRep' THEN 'synchronous_standby_names = '
                    || quote_literal(current_setting('synchronous_standby_names')) || ', connected: '
                    || COALESCE((SELECT string_agg(application_name, ', ' ORDER BY application_name) FROM pg_stat_replication), 'none')
                    END, \(LockHolder.columns)
                FROM pg_locks l \(LockHolder.joins)
                WHERE l.locktype = 'relation' AND l.relation = to_regclass($3)::oid AND l.mode = 'RowExclusiveLock' AND l.granted
                    AND \(LockHolder.isInThisDatabase)
                    AND ($1::text[] IS NULL OR l.virtualtransaction = ANY ($1::text[]))
                    AND (clock_timestamp() - \(LockHolder.begun) >= $2::bigint * interval '1 second') IS NOT FALSE
                ORDER BY \(LockHolder.begun)
                """),
            [
                holders.map { .strings($0.map(\.transaction).sorted()) } ?? .null, .int8(Int64(seconds)),
                .text(tables.events.sql),
            ])
        return (0..<rows.count).map { row in
            let holder = LockHolder(rows, row: row, from: 1)
            return OpenWriter(
                transaction: holder.transaction, processID: holder.processID, prepared: holder.prepared,
                application: holder.application, user: holder.user, state: holder.state, since: holder.since,
                age: holder.age ?? 0, queryStart: holder.queryStart, query: holder.query, standbys: rows.string(row, 0))
        }
    }
}
