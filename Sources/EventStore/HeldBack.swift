public import EventStream
public import Postgres

/// What the slowest consumer keeps in the active table.
public struct HeldBack: Hashable, Sendable {
    public let consumer: String
    public let position: EventID
    /// Events after its position, and the bytes of their data.
    public let events: Int
    public let bytes: Int
    /// When the oldest of them was recorded, in seconds since 1970; nil if there is none.
    public let since: Double?
    /// The same as an ISO 8601 text, UTC.
    public let sinceText: String?

    /// - Returns: nil if no consumer is registered.
    public static func load(_ info: StreamInfo, from connection: Connection) async throws -> HeldBack? {
        let events = info.tables.events.sql
        let rows = try await connection.query(
            Statement(
                """
                SELECT c.ident, c.last_evt_id, held.events, held.bytes, EXTRACT(EPOCH FROM held.since),
                    to_char(held.since, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                FROM (SELECT ident, last_evt_id FROM \(info.tables.consumers.sql) ORDER BY last_evt_id, ident LIMIT 1) c
                CROSS JOIN LATERAL (SELECT count(*) AS events, COALESCE(sum(bytes), 0) AS bytes, min(ts) AS since
                    FROM \(events) WHERE id > c.last_evt_id) held
                """))
        guard let consumer = rows.string(0, 0), rows.count == 1 else { return nil }
        return HeldBack(
            consumer: consumer, position: EventID(rows.int(0, 1) ?? 0), events: Int(rows.int(0, 2) ?? 0),
            bytes: Int(rows.int(0, 3) ?? 0), since: rows.string(0, 4).flatMap { Double($0) }, sinceText: rows.string(0, 5))
    }
}
