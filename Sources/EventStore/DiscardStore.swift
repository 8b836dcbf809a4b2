public import EventStream
public import Postgres

/// Removes confirmed events.
public struct DiscardStore: Sendable {
    private let info: StreamInfo

    public init(_ info: StreamInfo) { self.info = info }

    /// Carries out the plan's next step, as one transaction.
    ///
    /// - Returns: how many events were deleted; nil if there was nothing to do.
    public func step(_ plan: DiscardPlan, on connection: Connection) async throws -> Int? {
        try await connection.transaction {
            // Nobody registers meanwhile; what is read next is current.
            try await connection.query("SELECT pg_advisory_xact_lock($1::bigint)", [.int8(info.discardKey)])
            let state = try await connection.query(
                Statement(
                    """
                    SELECT (SELECT min(last_evt_id) FROM \(info.tables.consumers.sql)),
                        (SELECT id FROM \(info.tables.events.sql)
                            WHERE id > (SELECT discarded FROM \(info.tables.state.sql)) ORDER BY id LIMIT 1)
                    """, name: "evt_discard_state"))
            let confirmed = state.int(0, 0).map { EventID($0) }
            let lowest = state.int(0, 1).map { EventID($0) }
            guard case .delete(let segment, let through, let limit) = plan.next(confirmed: confirmed, lowest: lowest) else {
                return nil
            }
            // The leaf itself, not the table writers use: the discarder must not look like a writer.
            let leaf = info.tables.segment(segment).sql
            let deleted = try await connection.query(
                Statement(
                    """
                    DELETE FROM \(leaf) WHERE id IN
                        (SELECT id FROM \(leaf) WHERE id >= $3::bigint AND id <= $1::bigint ORDER BY id LIMIT $2::bigint)
                    """, name: "evt_discard_\(segment)"),
                // From the lowest on: the index may still be full of what was deleted before.
                [.int8(through.rawValue), .int8(Int64(limit)), .int8(lowest?.rawValue ?? 0)])
            try await connection.query(
                Statement(
                    "UPDATE \(info.tables.state.sql) SET discarded = $1::bigint WHERE discarded < $1::bigint",
                    name: "evt_discarded"),
                [.int8(deleted.affected < limit ? through.rawValue : lowest?.rawValue ?? 0)])
            return deleted.affected
        }
    }
}
