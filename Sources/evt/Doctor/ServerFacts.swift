import EventStreamDatabase
import Glibc
package import LibPQ

/// What a PostgreSQL server tells of itself.
package struct ServerFacts: Sendable {
    /// As `server_version_num`.
    package let version: Int
    package let versionText: String
    /// Settings by name; those the role may not see are left out.
    package let settings: [String: String]
    /// Those to its databases, of all.
    package let connections: Int
    package let isStandby: Bool
    /// Whether something between sits on the connection: it has another backend than the server knows of.
    package let isPooled: Bool
    /// By how many seconds the server's clock is ahead of this machine's, give or take the time of a query.
    package let clockOffset: Double
    /// Why a query that needs room on the disk fails; nil if it does not.
    package let diskError: String?

    private static let names = [
        "autovacuum", "fsync", "full_page_writes", "max_connections", "superuser_reserved_connections",
        "idle_in_transaction_session_timeout", "max_prepared_transactions",
    ]

    package static func load(from connection: Connection) async throws -> ServerFacts {
        let rows = try await connection.query(
            """
            SELECT current_setting('server_version_num')::int::bigint, current_setting('server_version'),
                (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL), pg_is_in_recovery(), pg_backend_pid()::bigint,
                EXTRACT(EPOCH FROM clock_timestamp())
            """)
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        let localTime = Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
        let found = try await connection.query(
            "SELECT name, current_setting(name, true) FROM unnest($1::text[]) name", [.strings(names)])
        let settings = (0..<found.count).compactMap { row in found.string(row, 0).map { ($0, found.string(row, 1) ?? "") } }
        return ServerFacts(
            version: Int(rows.int(0, 0) ?? 0), versionText: rows.string(0, 1) ?? "",
            settings: Dictionary(settings, uniquingKeysWith: { $1 }), connections: Int(rows.int(0, 2) ?? 0),
            isStandby: rows.bool(0, 3) ?? false, isPooled: rows.int(0, 4) != Int64(connection.backendProcessID),
            clockOffset: rows.double(0, 5) - localTime, diskError: try await diskError(on: connection))
    }

    /// A sort that does not fit into memory writes a few megabytes, which needs no rights.
    private static func diskError(on connection: Connection) async throws -> String? {
        do {
            try await connection.query("BEGIN READ ONLY")
            try await connection.query("SET LOCAL work_mem = '64kB'")
            try await connection.query(
                """
                SELECT count(*) FROM (SELECT FROM generate_series(1, 50000) g ORDER BY md5(g::text) || repeat('x', 60) OFFSET 0) s
                """)
            try await connection.query("COMMIT")
            return nil
        } catch {
            guard connection.isOpen else { throw error }
            try await connection.query("ROLLBACK")
            // A limit that an administrator has set is none of these.
            return [.diskFull, .ioError].contains(error.sqlState) ? error.message : nil
        }
    }
}
