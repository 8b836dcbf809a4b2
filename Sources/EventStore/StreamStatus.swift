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

    /// The newest event's id, 0 if there is none.
    public let head: EventID
    /// Events in the active table.
    public let backlog: Int
    /// Bytes of their data.
    public let backlogBytes: Int
    public let consumers: [Consumer]
    /// Those open for more than a second, the oldest first.
    public let writers: [OpenWriter]

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
        let writers = try await OpenWriter.load(info, from: connection, olderThan: 1)
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
            writers: writers)
    }
}
