package import EventStream
package import EventStreamDatabase
import EventStreamServer
package import LibPQ

/// Removes events that no consumer holds.
///
/// Works on the leaves of the event table only: it must not look like a writer. Whatever has been decided before, each step
/// asks again, under a lock that keeps others from registering, what consumers hold back.
package struct DiscardStore: Sendable {
    private let info: StreamInfo
    private let rule: HoldRule
    /// How long emptying a segment waits for its readers, while new ones wait behind it.
    private static let lockTimeout = "10ms"

    /// - Parameter rule: which events consumers hold back; nil for all they have not confirmed.
    package init(_ info: StreamInfo, rule: HoldRule? = nil) {
        self.info = info
        self.rule = rule ?? HoldRule(info.tables, required: [], maxLag: nil)
    }

    /// Plans must go by the order of ids, whatever the statistics say: those of a segment that is filled and emptied all the
    /// time are of another moment.
    package static let settings = StreamInfo.plans.merging(["enable_sort": "off"]) { mine, _ in mine }

    /// Takes the discarder's role for as long as the connection lives; false while another has it.
    package func takeRole(on connection: Connection) async throws(PostgresError) -> Bool {
        try await connection.query(Statement("SELECT pg_try_advisory_lock(\(info.key(of: .discarder)))")).bool(0, 0) ?? false
    }

    /// What a consumer has confirmed; nil if it is not registered.
    package func position(of consumer: ConsumerIdentity, on connection: Connection) async throws(PostgresError) -> EventID? {
        try await connection.query(
            Statement("SELECT last_evt_id FROM \(info.tables.consumers.sql) WHERE ident = $1"), [.text(consumer.description)]
        ).int(0, 0).map { EventID($0) }
    }

    /// Every registered consumer, by name.
    package func consumers(on connection: Connection) async throws(PostgresError) -> [String] {
        let rows = try await connection.query(Statement("SELECT ident FROM \(info.tables.consumers.sql) ORDER BY ident"))
        return (0..<rows.count).compactMap { rows.string($0, 0) }
    }

    /// Notes up to which id an archive has been seen to hold what was discarded.
    ///
    /// - Parameter ofAll: whether events of all types were compared.
    package func note(
        verified id: EventID, ofAll: Bool, by archiver: ConsumerIdentity, on connection: Connection
    ) async throws(PostgresError) {
        try await connection.query(
            Statement(
                """
                UPDATE \(info.tables.consumers.sql) SET verified_evt_id = GREATEST(verified_evt_id, $2::bigint), verified_all = $3::boolean
                WHERE ident = $1 AND (verified_evt_id < $2::bigint OR verified_all <> $3::boolean)
                """, name: "evt_verified"), [.text(archiver.description), .int8(id.rawValue), .text("\(ofAll)")])
    }

    /// What there is to discard, and up to which id it has been done.
    package func look(on connection: Connection) async throws -> (stream: DiscardPlan.Stream, discarded: EventID) {
        let events = info.tables.events.sql
        let state = info.tables.state.sql
        let rows = try await connection.query(
            Statement(
                """
                SELECT discarded, \(rule.bound),
                    (SELECT id FROM \(events) WHERE id > (SELECT discarded FROM \(state)) ORDER BY id LIMIT 1),
                    (SELECT id FROM \(events) WHERE id > (SELECT discarded FROM \(state)) ORDER BY id DESC LIMIT 1)
                FROM \(state)
                """, name: "evt_discard_look"))
        try info.checkState(rows)
        func id(_ column: Int) -> EventID? { rows.int(0, column).map { EventID($0) } }
        let discarded = id(0) ?? .none
        return (.init(newest: id(3) ?? discarded, confirmed: id(1), oldest: id(2)), discarded)
    }

    /// How many events a segment holds, counted in steps.
    ///
    /// - Parameter pause: called between the steps, with the time one took.
    package func count(
        _ segment: Int, on connection: Connection, pause: (Duration) async throws -> Void
    ) async throws -> Int {
        let leaf = info.tables.segment(segment).sql
        let step = Statement(
            "SELECT count(*), max(id) FROM (SELECT id FROM \(leaf) WHERE id > $1::bigint ORDER BY id LIMIT 10000) s",
            name: "evt_count_\(segment)")
        var (total, after) = (0, Int64(0))
        while true {
            let start = ContinuousClock.now
            let rows = try await connection.query(step, [.int8(after)])
            guard let last = rows.int(0, 1) else { return total }
            total += Int(rows.int(0, 0) ?? 0)
            after = last
            try await pause(.now - start)
        }
    }

    /// Empties a whole segment, unless it holds an event that is not confirmed, or somebody is reading it.
    ///
    /// - Parameters:
    ///   - through: the last id of the run it holds.
    ///   - allowed: nothing past this may go, confirmed or not.
    /// - Returns: why it is not empty; nil if it is.
    package func empty(
        _ segment: Int, through: EventID, allowed: EventID, on connection: Connection
    ) async throws -> DiscardPlan.Refusal? {
        let leaf = info.tables.segment(segment).sql
        do {
            // All of it on the server: whoever reads the table waits for this transaction, and must not wait for the network.
            // Each statement sees what the one before has waited for.
            let block = """
                DECLARE
                    held bigint;
                BEGIN
                    PERFORM set_config('lock_timeout', '\(DiscardStore.lockTimeout)', true);
                    -- Nobody registers until the transaction ends.
                    PERFORM pg_advisory_xact_lock(\(info.key(of: .discard)));
                    held := \(rule.bound);
                    LOCK TABLE \(leaf) IN ACCESS EXCLUSIVE MODE;
                    IF held IS NULL OR held < \(through)
                        OR (SELECT max(id) FROM \(leaf)) > LEAST(held, \(allowed)) THEN
                        RAISE EXCEPTION 'not all of the segment may go' USING ERRCODE = '\(DiscardStore.mayNotGo)';
                    END IF;
                    TRUNCATE \(leaf);
                    -- Nothing before it must be left behind: the next look begins after it.
                    IF EXISTS (SELECT FROM \(info.tables.events.sql) WHERE id <= \(through)
                        AND id > (SELECT discarded FROM \(info.tables.state.sql))) THEN
                        RAISE EXCEPTION 'older events are in other segments' USING ERRCODE = '\(DiscardStore.mayNotGo)';
                    END IF;
                    UPDATE \(info.tables.state.sql) SET discarded = \(through) WHERE discarded < \(through);
                END
                """
            // As a literal: a consumer's name may hold what would end a dollar quote.
            try await connection.script("DO \(quotedLiteral(block))")
            return nil
        } catch {
            switch error.sqlState {
            case .lockNotAvailable: return .busy
            case .insufficientPrivilege, DiscardStore.mayNotGo: return .impossible
            default: throw error
            }
        }
    }

    private static let mayNotGo: SQLState = "EVT01"

    /// Deletes events, as one transaction.
    ///
    /// - Parameters:
    ///   - first: the oldest event there is.
    ///   - limit: events to delete at most.
    /// - Returns: how many were deleted; nil if somebody registers a consumer, and does not end.
    package func delete(
        _ segment: Int, from first: EventID, through: EventID, limit: Int, on connection: Connection
    ) async throws -> Int? {
        let leaf = info.tables.segment(segment).sql
        // Decides and deletes in one statement, whose snapshot is taken when nobody registers any more. First the bound, then a
        // plain range: a list of ids the planner may look up one by one in all of the table.
        let statement = Statement(
            """
            WITH bound AS (
                SELECT LEAST($1::bigint, held) AS id FROM (SELECT \(rule.bound) AS held) rule WHERE held IS NOT NULL),
            step AS (
                SELECT max(id) AS last FROM (
                    SELECT id FROM \(leaf) WHERE id >= $3::bigint AND id <= (SELECT id FROM bound)
                    ORDER BY id LIMIT $2::bigint) s),
            gone AS (
                DELETE FROM \(leaf) WHERE id >= $3::bigint AND id <= (SELECT last FROM step) RETURNING id),
            done AS (SELECT count(*) AS events, max(id) AS newest FROM gone),
            noted AS (
                UPDATE \(info.tables.state.sql) s SET discarded = CASE WHEN events < $2::bigint THEN bound.id ELSE newest END
                FROM done, bound WHERE s.discarded < CASE WHEN events < $2::bigint THEN bound.id ELSE newest END)
            SELECT events FROM done
            """, name: "evt_discard_\(segment)")
        do {
            let rows = try await connection.transaction([
                (
                    Statement("SELECT pg_advisory_xact_lock($1::bigint)", name: "evt_discard_lock"),
                    [.int8(info.key(of: .discard))]
                ),
                (statement, [.int8(through.rawValue), .int8(Int64(limit)), .int8(first.rawValue)]),
            ])
            return Int(rows[1].int(0, 0) ?? 0)
        } catch {
            guard error.sqlState == .lockNotAvailable else { throw error }
            return nil
        }
    }

    /// Makes the room of deleted events usable again. Does nothing where the role does not own the table.
    package func vacuum(_ segment: Int, on connection: Connection) async throws {
        // Giving pages back to the system would need a lock that writers wait for.
        try await connection.query(Statement("VACUUM (SKIP_LOCKED, TRUNCATE false) \(info.tables.segment(segment).sql)"))
    }

    /// Notes, for `evt status`, how far a consumer may be behind and hold everything back; nil for no limit.
    package func note(maxLag: String?, on connection: Connection) async throws {
        try await connection.query(
            Statement("UPDATE \(info.tables.state.sql) SET max_lag = $1 WHERE max_lag IS DISTINCT FROM $1"),
            [.optional(maxLag)])
    }

    /// Notes, for `evt status`, that no other archives than these let consumers hold less than all that they have not confirmed.
    package func note(required archivers: [ConsumerIdentity], on connection: Connection) async throws {
        let isOther = "verified_all AND ident <> ALL ($1::text[])"
        let names = Parameter.strings(archivers.map(\.description))
        // Where no archive has been required, the role may lack the right.
        let others = try await connection.query(Statement("SELECT FROM \(info.tables.consumers.sql) WHERE \(isOther)"), [names])
        guard others.count > 0 else { return }
        try await connection.query(
            Statement("UPDATE \(info.tables.consumers.sql) SET verified_all = false WHERE \(isOther)"), [names])
    }

    /// Notes, for `evt status`, why nothing more is discarded; nil for no reason.
    package func note(refusal: String?, on connection: Connection) async throws {
        try await connection.query(
            Statement(
                "UPDATE \(info.tables.state.sql) SET refusal = $1 WHERE refusal IS DISTINCT FROM $1", name: "evt_refusal"),
            [.optional(refusal)])
    }
}
