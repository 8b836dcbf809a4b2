import EventStream
package import LibPQ

/// How far one consumer may be behind and still hold all its events: where it is not as the discarder is set.
package struct MaxLagStore: Sendable {
    private let info: StreamInfo

    package init(_ info: StreamInfo) { self.info = info }

    /// While the discarder neither decides nor deletes: what it decides afterwards it decides by this.
    ///
    /// - Parameter maxLag: nil for what the discarder is set to.
    /// - Returns: how the discarder at work is set, as it has noted it; nil for no limit.
    /// - Throws: ``StoreError`` if there is no such consumer, or it is an archiver.
    package func set(_ ident: String, to maxLag: MaxLag?, on connection: Connection) async throws -> String? {
        if maxLag != nil, try await ConsumerAdmin(info).isArchiver(ident, on: connection) {
            throw StoreError("\(ident) is an archiver, which holds all events back that it has not archived, whatever its lag")
        }
        let (events, microseconds) = maxLag?.columns ?? (nil, nil)
        let rows = try await connection.transaction([
            (Statement("SELECT pg_advisory_xact_lock_shared($1::bigint)"), [.int8(info.key(of: .discard))]),
            (
                Statement(
                    """
                    UPDATE \(info.tables.consumers.sql)
                    SET max_lag_events = $2::bigint, max_lag_time = $3::bigint * interval '1 microsecond'
                    WHERE ident = $1::text OR starts_with(ident, $1::text || '/')
                    """), [.text(ident), events.map { .int8($0) } ?? .null, microseconds.map { .int8($0) } ?? .null]
            ),
            (Statement("SELECT max_lag FROM \(info.tables.state.sql)"), []),
        ])
        guard rows[1].affected > 0 else { throw StoreError("there is no consumer \(ident)") }
        return rows[2].string(0, 0)
    }
}
