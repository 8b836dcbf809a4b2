package import LibPQ

/// What has an old snapshot: as long as it does, no version of a row that it may need is ever removed.
package struct SnapshotHolder: Sendable, CustomStringConvertible {
    /// What it is, with the pid or the name to end it by.
    package let name: String
    /// Since when, in UTC, as an ISO 8601 text; empty where that is not known.
    package let since: String
    /// How many seconds that is; 0 where it is not known.
    package let age: Double
    /// Its statement; empty where there is none, or the role may not see it.
    package let query: String
    /// What to do about it.
    package let advice: String

    package var description: String {
        name + (since.isEmpty ? "" : ", since \(since)") + (query.isEmpty ? "" : ", last query: \(query)")
    }

    /// The oldest ones first: sessions, prepared transactions and replication slots.
    package static func load(from connection: Connection, limit: Int = 3) async throws -> [SnapshotHolder] {
        let rows = try await connection.query(
            """
            SELECT name, COALESCE(to_char(began AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''),
                COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - began), 0), COALESCE(query, ''), advice
            FROM (
                SELECT format('pid %s (%s, user %s, %s)', pid, COALESCE(NULLIF(application_name, ''), 'no application name'),
                        COALESCE(usename, '?'), COALESCE(state, backend_type, '')) AS name,
                    xact_start AS began, left(query, 200) AS query, age(backend_xmin) AS held,
                    format('end its transaction, or SELECT pg_terminate_backend(%s)', pid) AS advice
                FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
                    AND (datname = current_database() OR datname IS NULL) AND backend_type NOT LIKE 'autovacuum%'
                UNION ALL
                SELECT format('prepared transaction %L (user %s)', gid, owner), prepared, NULL, age(transaction),
                    format('COMMIT PREPARED %1$L, or ROLLBACK PREPARED %1$L', gid)
                FROM pg_prepared_xacts WHERE database = current_database()
                UNION ALL
                SELECT format('replication slot %s (%s)', slot_name, CASE WHEN active THEN 'in use' ELSE 'not in use' END),
                    NULL, NULL, age(xmin), format('let its standby catch up; one that is not needed: SELECT pg_drop_replication_slot(%L)', slot_name)
                FROM pg_replication_slots WHERE xmin IS NOT NULL
            ) h ORDER BY held DESC, began LIMIT $1::bigint
            """, [.int8(Int64(limit))])
        return (0..<rows.count).map { row in
            SnapshotHolder(
                name: rows.string(row, 0) ?? "", since: rows.string(row, 1) ?? "", age: rows.double(row, 2),
                query: rows.string(row, 3) ?? "", advice: rows.string(row, 4) ?? "")
        }
    }
}
