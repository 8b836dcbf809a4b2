package import EventStream
package import EventStreamDatabase
package import LibPQ

/// What the slowest of the consumers that hold events back keeps in the active table.
package struct HeldBack: Hashable, Sendable {
    package let consumer: String
    /// It holds what comes after this id: its position, unless it is further behind than the maximum lag.
    package let position: EventID
    /// Events after that, and the bytes of their data.
    package let events: Int
    package let bytes: Int
    /// Since when the oldest of them could be delivered, in seconds since 1970; nil if there is none.
    package let since: Double?
    /// The same as an ISO 8601 text, UTC.
    package let sinceText: String?
}

/// Counts what the slowest consumer holds back, in small steps: the figures are not as of one moment, and nobody is disturbed.
package struct HeldBackCount: Sendable {
    private let count: Statement
    private let oldest: Statement
    private let consumer: String
    private let position: Int64
    private var after: Int64
    private var (events, bytes) = (0, 0)
    /// Ids counted in one step.
    private static let stretch: Int64 = 5000

    /// - Returns: nil if no consumer holds events back.
    package init?(_ info: StreamInfo, _ rule: HoldRule, on connection: Connection) async throws {
        let slowest = try await connection.query(
            Statement(
                """
                SELECT ident, held FROM (
                    SELECT c.ident, \(rule.holdsAfter) AS held
                    FROM \(info.tables.consumers.sql) c CROSS JOIN \(info.tables.state.sql) s) c
                WHERE held IS NOT NULL ORDER BY held, ident LIMIT 1
                """))
        guard let consumer = slowest.string(0, 0), let position = slowest.int(0, 1) else { return nil }
        (self.consumer, self.position, after) = (consumer, position, position)
        let events = info.tables.events.sql
        count = Statement(
            """
            WITH first AS (SELECT id FROM \(events) WHERE id > $1::bigint ORDER BY id LIMIT 1)
            SELECT (SELECT id FROM first), count(*), COALESCE(sum(bytes), 0)
            FROM \(events) WHERE id >= (SELECT id FROM first) AND id < (SELECT id FROM first) + \(HeldBackCount.stretch)
            """, name: "evt_held")
        oldest = Statement(
            """
            SELECT EXTRACT(EPOCH FROM since), to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM (
                SELECT \(SettledMarks(info).waitingSince("e.id", "e.ts")) AS since
                FROM (SELECT id, ts FROM \(events) WHERE id > $1::bigint ORDER BY id LIMIT 1) e) s
            """, name: "evt_held_since")
    }

    /// Whether there still is such a consumer.
    package static func isRegistered(_ consumer: String, _ info: StreamInfo, on connection: Connection) async throws -> Bool {
        try await connection.query(
            Statement("SELECT FROM \(info.tables.consumers.sql) WHERE ident = $1", name: "evt_is_registered"), [.text(consumer)]
        ).count > 0
    }

    /// - Returns: the figures, once all is counted.
    package mutating func step(on connection: Connection) async throws -> HeldBack? {
        let rows = try await connection.query(count, [.int8(after)])
        guard let first = rows.int(0, 0) else {
            // The first in the order of ids has waited longest.
            let since = try await connection.query(oldest, [.int8(position)])
            let seconds = since.count > 0 ? since.string(0, 0).flatMap { Double($0) } : nil
            return HeldBack(
                consumer: consumer, position: EventID(position), events: events, bytes: bytes, since: seconds,
                sinceText: since.count > 0 ? since.string(0, 1) : nil)
        }
        events += Int(rows.int(0, 1) ?? 0)
        bytes += Int(rows.int(0, 2) ?? 0)
        after = first + HeldBackCount.stretch - 1
        return nil
    }
}
