import EventStream
import LibPQ

/// Who has a lock, or waits for one: a backend, or a prepared transaction, which keeps its locks without a process.
package struct LockHolder: Hashable, Sendable, CustomStringConvertible {
    /// How the lock table names its transaction.
    package let transaction: String
    /// The backend; nil for a prepared transaction.
    package let processID: Int?
    /// What PREPARE TRANSACTION called it; nil for a backend's.
    package let prepared: String?
    package let application: String
    package let user: String
    /// Of the backend: `active`, `idle in transaction`, …; `prepared` where there is none; empty where the role may not see it.
    package let state: String
    /// When the transaction began, or was prepared; UTC, as an ISO 8601 text; empty where the role may not see it.
    package let since: String
    /// Seconds since then; nil where the role may not see it.
    package let age: Double?
    /// When its present or last statement began; UTC; empty for a prepared one.
    package let queryStart: String
    /// The statement, or the beginning of it; empty for a prepared one, and where the role may not see it.
    package let query: String

    package init(
        transaction: String = "", processID: Int?, prepared: String? = nil, application: String = "", user: String = "",
        state: String = "", since: String = "", age: Double? = nil, queryStart: String = "", query: String = ""
    ) {
        self.transaction = transaction
        self.processID = processID
        self.prepared = prepared
        self.application = application
        self.user = user
        self.state = state
        self.since = since
        self.age = age
        self.queryStart = queryStart
        self.query = query
    }

    /// The shortest that tells it from others.
    package var name: String { prepared.map { "prepared transaction '\($0)'" } ?? "pid \(processID ?? 0)" }

    package var description: String {
        if prepared != nil { return "\(name) (user \(user), prepared \(since))" }
        let who = "\(name) (\(application.isEmpty ? "no application name" : application), user \(user)"
        guard !since.isEmpty else { return "\(who); grant pg_read_all_stats to see since when)" }
        return "\(who), \(state), transaction since \(since)\(query.isEmpty ? "" : ", query: \(query)"))"
    }

    /// What ends its transaction.
    package var ending: String {
        if let prepared { return "COMMIT PREPARED \(quotedLiteral(prepared)) or ROLLBACK PREPARED \(quotedLiteral(prepared))" }
        return "commit or roll it back where it runs, or SELECT pg_terminate_backend(\(processID ?? 0))"
    }

    // MARK: Reading

    static func utc(_ time: String) -> String {
        "to_char(\(time) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
    }

    /// Since when a lock's transaction runs.
    static let begun = "COALESCE(a.xact_start, p.prepared)"

    /// What ``init(_:row:from:)`` reads of a row `l` of pg_locks, with ``joins``.
    static let columns = """
        l.virtualtransaction, l.pid, p.gid, COALESCE(a.application_name, ''), COALESCE(a.usename, p.owner, ''),
            CASE WHEN l.pid IS NULL THEN 'prepared' ELSE COALESCE(a.state, '') END, \(utc(begun)),
            EXTRACT(EPOCH FROM clock_timestamp() - \(begun)), \(utc("a.query_start")), left(a.query, 200)
        """
    static let columnCount = 10

    /// A prepared transaction keeps its locks without a process; its lock on its own id leads to its name.
    static let joins = """
        LEFT JOIN pg_stat_activity a ON a.pid = l.pid
            LEFT JOIN pg_locks t ON l.pid IS NULL AND t.locktype = 'transactionid' AND t.pid IS NULL
                AND t.virtualtransaction = l.virtualtransaction
            LEFT JOIN pg_prepared_xacts p ON p.transaction = t.transactionid
        """

    static let isInThisDatabase = "l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"

    init(_ rows: Rows, row: Int, from column: Int) {
        func text(_ offset: Int) -> String { rows.string(row, column + offset) ?? "" }
        self.init(
            transaction: text(0), processID: rows.int(row, column + 1).map { Int($0) }, prepared: rows.string(row, column + 2),
            application: text(3), user: text(4), state: text(5), since: text(6), age: Double(text(7)), queryStart: text(8),
            query: text(5).isEmpty ? "" : text(9))
    }

    /// Who uses tables or their partitions, in whatever mode, the longest first. Found in catalogs alone.
    static func users(of tables: [TableName], from connection: Connection) async throws(PostgresError) -> [LockHolder] {
        let rows = try await connection.query(
            Statement(
                """
                WITH RECURSIVE tables AS (
                    SELECT to_regclass(name)::oid AS oid FROM unnest($1::text[]) name
                    UNION SELECT inhrelid FROM pg_inherits JOIN tables ON inhparent = tables.oid)
                SELECT \(columns) FROM pg_locks l \(joins)
                WHERE l.locktype = 'relation' AND l.relation IN (SELECT oid FROM tables) AND l.granted AND \(isInThisDatabase)
                    AND l.pid IS DISTINCT FROM pg_backend_pid()
                ORDER BY \(begun)
                """), [.strings(tables.map(\.sql))])
        var seen: Set<String> = []
        return (0..<rows.count).map { LockHolder(rows, row: $0, from: 0) }.filter { seen.insert($0.transaction).inserted }
    }

    /// Backends by their process ids.
    static func load(_ processes: Set<Int>, from connection: Connection) async throws(PostgresError) -> [Int: LockHolder] {
        guard !processes.isEmpty else { return [:] }
        let rows = try await connection.query(
            Statement(
                """
                SELECT '', a.pid::bigint, NULL, COALESCE(a.application_name, ''), COALESCE(a.usename, ''), COALESCE(a.state, ''),
                    \(utc("a.xact_start")), EXTRACT(EPOCH FROM clock_timestamp() - a.xact_start), \(utc("a.query_start")),
                    left(a.query, 200)
                FROM pg_stat_activity a WHERE a.pid = ANY ($1::bigint[])
                """), [.int8Array(processes.sorted().map { Int64($0) })])
        let found = (0..<rows.count).map { LockHolder(rows, row: $0, from: 0) }
        return Dictionary(found.map { ($0.processID ?? 0, $0) }, uniquingKeysWith: { $1 })
    }
}
