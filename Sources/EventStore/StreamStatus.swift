public import EventStream
public import Postgres

/// How a stream stands, read from its tables.
public struct StreamStatus: Sendable {
    public struct Consumer: Sendable {
        public let consumer: String
        public let position: EventID
        /// Events after the position.
        public let lag: Int
        /// Age of the oldest of them, in seconds; 0 if there are none.
        public let lagSeconds: Double
        /// UTC, as an ISO 8601 text.
        public let lastSeen: String
        /// Whether a pusher has a session for it.
        public let isServed: Bool
    }

    /// A transaction that has recorded events and is still open; later events wait for it.
    public struct Writer: Sendable {
        public let processID: Int
        public let application: String
        public let state: String
        /// Seconds since its transaction began.
        public let age: Double
        /// When its present or last statement began; UTC.
        public let queryStart: String
    }

    /// The newest event's id, 0 if there is none.
    public let head: EventID
    /// Events in the active table.
    public let backlog: Int
    /// Bytes of their data.
    public let backlogBytes: Int
    public let consumers: [Consumer]
    /// Those open for more than a second, the oldest first.
    public let writers: [Writer]

    public static func load(_ info: StreamInfo, from connection: Connection) async throws -> StreamStatus {
        let iso = "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'"
        let events = info.tables.events.sql
        // One snapshot: the figures fit each other.
        try await connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        let totals = try await connection.query(
            Statement(
                """
                SELECT GREATEST((SELECT max(id) FROM \(events)), (SELECT discarded FROM \(info.tables.state.sql)), 0),
                    (SELECT count(*) FROM \(events)), (SELECT COALESCE(sum(bytes), 0) FROM \(events))
                """))
        let consumers = try await connection.query(
            Statement(
                """
                SELECT ident, last_evt_id, COALESCE(behind.count, 0),
                    COALESCE(EXTRACT(EPOCH FROM (clock_timestamp() AT TIME ZONE 'UTC') - behind.oldest), 0),
                    to_char(last_time, \(iso)), session_owner IS NOT NULL
                FROM \(info.tables.consumers.sql) c
                CROSS JOIN LATERAL (SELECT count(*), min(ts) AS oldest FROM \(events) WHERE id > c.last_evt_id) behind
                ORDER BY ident
                """))
        try await connection.query("COMMIT")
        let writers = try await connection.query(
            Statement(
                """
                SELECT a.pid, a.application_name, a.state, EXTRACT(EPOCH FROM clock_timestamp() - a.xact_start),
                    to_char(a.query_start AT TIME ZONE 'UTC', \(iso))
                FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                WHERE l.locktype = 'relation' AND l.relation = \(info.tableOID) AND l.mode = 'RowExclusiveLock' AND l.granted
                    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND clock_timestamp() - a.xact_start > interval '1 second'
                ORDER BY a.xact_start
                """))
        func number(_ rows: Rows, _ row: Int, _ column: Int) -> Double { rows.string(row, column).flatMap(Double.init) ?? 0 }
        return StreamStatus(
            head: EventID(totals.int(0, 0) ?? 0), backlog: Int(totals.int(0, 1) ?? 0),
            backlogBytes: Int(totals.int(0, 2) ?? 0),
            consumers: (0..<consumers.count).map { row in
                Consumer(
                    consumer: consumers.string(row, 0) ?? "", position: EventID(consumers.int(row, 1) ?? 0),
                    lag: Int(consumers.int(row, 2) ?? 0), lagSeconds: max(0, number(consumers, row, 3)),
                    lastSeen: consumers.string(row, 4) ?? "", isServed: consumers.bool(row, 5) ?? false)
            },
            writers: (0..<writers.count).map { row in
                Writer(
                    processID: Int(writers.int(row, 0) ?? 0), application: writers.string(row, 1) ?? "",
                    state: writers.string(row, 2) ?? "", age: number(writers, row, 3), queryStart: writers.string(row, 4) ?? "")
            })
    }
}
