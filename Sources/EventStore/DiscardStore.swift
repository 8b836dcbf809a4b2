public import EventStream
public import Postgres

/// Removes confirmed events.
///
/// Works on the leaves of the event table only: it must not look like a writer. Whatever has been decided before, each step
/// asks again, under a lock that keeps others from registering, what the slowest consumer has confirmed.
public struct DiscardStore: Sendable {
    private let info: StreamInfo
    /// How long emptying a segment waits for its readers, while new ones wait behind it.
    private static let patience = "10ms"

    public init(_ info: StreamInfo) { self.info = info }

    /// What there is to discard, and up to which id it has been done.
    public func look(on connection: Connection) async throws -> (stream: DiscardPlan.Stream, discarded: EventID) {
        let events = info.tables.events.sql
        let state = info.tables.state.sql
        let rows = try await connection.query(
            Statement(
                """
                SELECT discarded, (SELECT min(last_evt_id) FROM \(info.tables.consumers.sql)),
                    (SELECT id FROM \(events) WHERE id > (SELECT discarded FROM \(state)) ORDER BY id LIMIT 1),
                    (SELECT id FROM \(events) WHERE id > (SELECT discarded FROM \(state)) ORDER BY id DESC LIMIT 1)
                FROM \(state)
                """, name: "evt_discard_look"))
        func id(_ column: Int) -> EventID? { rows.int(0, column).map { EventID($0) } }
        let discarded = id(0) ?? .none
        return (.init(newest: id(3) ?? discarded, confirmed: id(1), oldest: id(2)), discarded)
    }

    public enum Emptied: Hashable, Sendable {
        /// So many events are gone.
        case emptied(Int)
        case refused(DiscardPlan.Refusal)
    }

    /// Empties a whole segment, unless it holds an event that is not confirmed, or somebody is reading it.
    ///
    /// - Parameters:
    ///   - through: the last id of the run it holds.
    ///   - allowed: nothing past this may go, confirmed or not.
    public func empty(
        _ segment: Int, through: EventID, allowed: EventID, on connection: Connection
    ) async throws -> Emptied {
        let leaf = info.tables.segment(segment).sql
        let found = try await connection.query(Statement("SELECT count(*), COALESCE(max(id), 0) FROM \(leaf)"))
        do {
            return try await connection.transaction {
                // Nobody registers until the transaction ends. Each statement sees what the one before has waited for.
                try await connection.query(Statement("SET LOCAL lock_timeout = '\(DiscardStore.patience)'"))
                try await connection.query(keepRegistrationsOut.0, keepRegistrationsOut.1)
                try await connection.query(Statement("LOCK TABLE \(leaf) IN ACCESS EXCLUSIVE MODE"))
                let state = try await connection.query(
                    Statement(
                        """
                        SELECT (SELECT min(last_evt_id) FROM \(info.tables.consumers.sql)), COALESCE(max(id), 0) FROM \(leaf)
                        """))
                guard let confirmed = state.int(0, 0), let newest = state.int(0, 1),
                    through.rawValue <= confirmed, newest <= min(confirmed, allowed.rawValue)
                else { return .refused(.impossible) }
                try await connection.script(
                    """
                    TRUNCATE \(leaf);
                    UPDATE \(info.tables.state.sql) SET discarded = \(through) WHERE discarded < \(through)
                    """)
                return .emptied(Int(found.int(0, 0) ?? 0))
            }
        } catch let error as PostgresError where error.sqlState == "55P03" {
            return .refused(.busy)
        } catch let error as PostgresError where error.sqlState == "42501" {
            return .refused(.impossible)
        }
    }

    /// Deletes events, as one transaction.
    ///
    /// - Parameters:
    ///   - first: the oldest event there is.
    ///   - limit: events to delete at most.
    /// - Returns: how many were deleted.
    public func delete(
        _ segment: Int, from first: EventID, through: EventID, limit: Int, on connection: Connection
    ) async throws -> Int {
        let leaf = info.tables.segment(segment).sql
        // Decides and deletes in one statement, whose snapshot is taken when nobody registers any more.
        let statement = Statement(
            """
            WITH bound AS (
                SELECT LEAST($1::bigint, (SELECT min(last_evt_id) FROM \(info.tables.consumers.sql))) AS id
                WHERE EXISTS (SELECT FROM \(info.tables.consumers.sql))),
            gone AS (
                DELETE FROM \(leaf) WHERE id IN (
                    SELECT id FROM \(leaf) WHERE id >= $3::bigint AND id <= (SELECT id FROM bound)
                    ORDER BY id LIMIT $2::bigint)
                RETURNING id),
            done AS (SELECT count(*) AS events, max(id) AS newest FROM gone),
            noted AS (
                UPDATE \(info.tables.state.sql) s SET discarded = CASE WHEN events < $2::bigint THEN bound.id ELSE newest END
                FROM done, bound WHERE s.discarded < CASE WHEN events < $2::bigint THEN bound.id ELSE newest END)
            SELECT events FROM done
            """, name: "evt_discard_\(segment)")
        let rows = try await connection.transaction([
            keepRegistrationsOut,
            (statement, [.int8(through.rawValue), .int8(Int64(limit)), .int8(first.rawValue)]),
        ])
        return Int(rows[1].int(0, 0) ?? 0)
    }

    private var keepRegistrationsOut: (Statement, [Parameter]) {
        (Statement("SELECT pg_advisory_xact_lock($1::bigint)", name: "evt_discard_lock"), [.int8(info.discardKey)])
    }

    /// Makes the room of deleted events usable again. Does nothing where the role does not own the table.
    public func vacuum(_ segment: Int, on connection: Connection) async throws {
        // Giving pages back to the system would need a lock that writers wait for.
        try await connection.query(Statement("VACUUM (TRUNCATE false) \(info.tables.segment(segment).sql)"))
    }

    /// Notes, for `evt status`, why nothing more is discarded; nil for no reason.
    public func note(refusal: String?, on connection: Connection) async throws {
        try await connection.query(
            Statement(
                "UPDATE \(info.tables.state.sql) SET refusal = $1 WHERE refusal IS DISTINCT FROM $1", name: "evt_refusal"),
            [.optional(refusal)])
    }
}
