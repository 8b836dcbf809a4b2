public import EventStream
public import Postgres

/// How a stream stands, read from its tables.
public struct StreamStatus: Sendable {
    public struct Consumer: Sendable {
        public let consumer: String
        public let position: EventID
        /// Events after the position: they are kept because of it.
        public var lag = 0
        /// Bytes of their data.
        public var lagBytes = 0
        /// When the oldest of them was recorded; UTC, as an ISO 8601 text; empty if there are none.
        public var since = ""
        /// Its age, in seconds; 0 if there are none.
        public var lagSeconds = 0.0
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
    /// Up to which id events were discarded.
    public let discarded: EventID
    /// Why confirmed events are kept nevertheless; nil if they are not.
    public let refusal: String?
    /// By name.
    public let consumers: [Consumer]
    /// Those open for more than a second, the oldest first.
    public let writers: [OpenWriter]

    /// The consumer that holds most events back, if any does.
    public var slowest: Consumer? { consumers.filter { $0.lag > 0 }.min { $0.position < $1.position } }

    private static let iso = "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'"

    public static func load(_ info: StreamInfo, from connection: Connection) async throws -> StreamStatus {
        let events = info.tables.events.sql
        let known = info.tables.consumers.sql
        // One snapshot: the figures fit each other.
        try await connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        let state = try await connection.query(
            Statement(
                """
                SELECT GREATEST((SELECT max(id) FROM \(events)), discarded, 0), discarded, refusal FROM \(info.tables.state.sql)
                """))
        let rows = try await connection.query(
            Statement(
                """
                SELECT ident, last_evt_id, to_char(last_time, \(iso)), session_owner IS NOT NULL FROM \(known) ORDER BY ident
                """))
        // Each event is looked at once, however many consumers there are: counted between the positions.
        let counts = try await connection.query(
            Statement(
                """
                SELECT width_bucket(id, ARRAY(SELECT DISTINCT last_evt_id + 1 FROM \(known) ORDER BY 1)), count(*), sum(bytes),
                    to_char(min(ts), \(iso)), EXTRACT(EPOCH FROM (clock_timestamp() AT TIME ZONE 'UTC') - min(ts))
                FROM \(events) GROUP BY 1 ORDER BY 1 DESC
                """))
        try await connection.query("COMMIT")
        var consumers = (0..<rows.count).map { row in
            Consumer(
                consumer: rows.string(row, 0) ?? "", position: EventID(rows.int(row, 1) ?? 0),
                lastSeen: rows.string(row, 2) ?? "", isServed: rows.bool(row, 3) ?? false)
        }
        let positions = Set(consumers.map(\.position)).sorted()
        var (backlog, backlogBytes) = (0, 0)
        for row in 0..<counts.count {
            backlog += Int(counts.int(row, 1) ?? 0)
            backlogBytes += Int(counts.int(row, 2) ?? 0)
            // The events of this bucket and of all above lie behind the positions up to the bucket's.
            let bucket = Int(counts.int(row, 0) ?? 0)
            guard bucket > 0 else { continue }
            for index in consumers.indices where consumers[index].position <= positions[bucket - 1] {
                consumers[index].lag += Int(counts.int(row, 1) ?? 0)
                consumers[index].lagBytes += Int(counts.int(row, 2) ?? 0)
                let age = counts.string(row, 4).flatMap { Double($0) } ?? 0
                guard consumers[index].since.isEmpty || age > consumers[index].lagSeconds else { continue }
                consumers[index].since = counts.string(row, 3) ?? ""
                consumers[index].lagSeconds = max(0, age)
            }
        }
        return StreamStatus(
            head: EventID(state.int(0, 0) ?? 0), backlog: backlog, backlogBytes: backlogBytes,
            discarded: EventID(state.int(0, 1) ?? 0), refusal: state.string(0, 2), consumers: consumers,
            writers: try await OpenWriter.load(info, from: connection, olderThan: 1))
    }
}
