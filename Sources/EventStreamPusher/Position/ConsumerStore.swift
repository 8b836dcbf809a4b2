package import EventStream
package import EventStreamDatabase
package import LibPQ

/// Registered consumers: their positions, and which pusher serves each.
///
/// A session belongs to one pusher at a time. Claiming it raises the consumer's epoch; a position is stored only with
/// the present epoch, so a pusher that was paused and resumed cannot move what has passed to another.
package struct ConsumerStore: Sendable {
    package enum Claim: Hashable, Sendable {
        case claimed(Claimed)
        case busy
        case notRegistered
    }

    package struct Claimed: Hashable, Sendable {
        package let position: EventID
        package let epoch: Int64
        /// Up to here this generation of the stream and earlier ones have the same events for it.
        package let common: EventID
        /// Up to here events are in the archive only.
        package let discarded: EventID
        /// Whether an operator has stopped its delivery.
        package let isPaused: Bool
        /// Nothing beyond it is delivered, until the consumer is cut into other slices.
        package var barrier: EventID?
        /// The event that failed last, if the position has not reached it.
        package var failing: Attempts.Failing?
        /// How often an event of this consumer may fail before it is parked; nil for as often as the pusher is set to.
        package var maxAttempts: Int?
        /// Keys of which events are parked; nil if that was not asked.
        package var blockedKeys: [String]?

        package init(position: EventID, epoch: Int64, common: EventID, discarded: EventID, isPaused: Bool) {
            (self.position, self.epoch, self.common) = (position, epoch, common)
            (self.discarded, self.isPaused) = (discarded, isPaused)
        }
    }

    /// What is known of a consumer that polls.
    package struct Polled: Hashable, Sendable {
        package let position: EventID
        package let isPaused: Bool
        /// Nothing beyond it is delivered.
        package let barrier: EventID?

        package init(position: EventID, isPaused: Bool, barrier: EventID? = nil) {
            (self.position, self.isPaused, self.barrier) = (position, isPaused, barrier)
        }
    }

    package enum Stored: Hashable, Sendable {
        case stored
        /// The consumer is another session's now, or gone.
        case fenced
        /// Someone has the row locked; try again.
        case locked
    }

    private let claimStatement: Statement
    private let releaseStatement: Statement
    private let resumeStatement: Statement
    private let storeStatement: Statement
    private let confirmStatement: Statement
    private let newestStatement: Statement

    package init(_ info: StreamInfo) {
        let tables = info.tables
        let consumers = tables.consumers.sql
        let now = "(now() AT TIME ZONE 'UTC')"
        // A pusher holds the advisory lock of its own id for as long as its connection lives. The epoch grows by a random
        // number: a database that went back must not give one out again that a stale pusher still has. What a former session
        // has confirmed counts under that session's own epoch only: an operator may have set the position since.
        claimStatement = Statement(
            """
            WITH claimed AS (
                UPDATE \(consumers) SET session_owner = $2::bigint, session_epoch = session_epoch + $4::bigint, last_time = \(now),
                    last_evt_id = CASE WHEN session_epoch = $6::bigint THEN GREATEST(last_evt_id, $7::bigint) ELSE last_evt_id END,
                    want = CASE WHEN want IS DISTINCT FROM $8::text[] THEN $8::text[] ELSE want END, takes_parked = $9::boolean
                WHERE ident = $1::text AND \(info.isOf(generation: "$5")) AND (session_owner IS NULL OR session_owner = $2::bigint
                    OR session_owner = ANY ($3::bigint[]) OR pg_try_advisory_xact_lock_shared(session_owner))
                RETURNING last_evt_id, session_epoch, began_evt_id, reg_time, paused, barrier, failed_evt_id, failed_attempts, failed_error, failed_alone,
                    CASE WHEN EXISTS (SELECT FROM \(tables.archives.sql) a WHERE a.ident = $1::text) THEN 0 ELSE max_attempts END
                        AS max_attempts)
            SELECT (SELECT last_evt_id FROM claimed), (SELECT session_epoch FROM claimed),
                EXISTS (SELECT FROM \(consumers) WHERE ident = $1::text),
                (SELECT CASE WHEN reg_time >= generation_since AT TIME ZONE 'UTC' THEN discarded ELSE began_evt_id END
                    FROM claimed, \(tables.state.sql)),
                (SELECT discarded FROM \(tables.state.sql)), (SELECT paused FROM claimed), (SELECT max_attempts FROM claimed),
                (SELECT failed_evt_id FROM claimed WHERE failed_evt_id > last_evt_id), (SELECT failed_attempts FROM claimed),
                (SELECT failed_error FROM claimed), (SELECT failed_alone FROM claimed), (SELECT barrier FROM claimed)
            """, name: "evt_claim")
        releaseStatement = Statement(
            """
            UPDATE \(consumers) SET session_owner = NULL
            WHERE ident = $1::text AND session_owner = $2::bigint AND session_epoch = $3::bigint
            """, name: "evt_release")
        // A session that is given up knows of no barrier.
        resumeStatement = Statement(
            """
            UPDATE \(consumers) SET session_owner = $2::bigint
            WHERE ident = $1::text AND session_epoch = $3::bigint AND (session_owner IS NULL OR session_owner = $2::bigint)
                AND barrier IS NULL
            """, name: "evt_resume")
        // SKIP LOCKED: one consumer whose row somebody has locked must not hold up the others. And nothing is written that does
        // not change: every version of a row is kept as long as an old snapshot may need it. A row is looked up once; it is
        // locked then, so that it is still where it was found.
        storeStatement = Statement(
            """
            WITH wanted AS (
                SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS w (ident, epoch, position)),
            free AS (
                SELECT c.ctid AS place, w.position FROM \(consumers) c JOIN wanted w ON w.ident = c.ident
                WHERE c.session_epoch = w.epoch AND c.last_evt_id < w.position AND \(info.isOf(generation: "$4")) FOR UPDATE OF c SKIP LOCKED),
            stored AS (
                UPDATE \(consumers) c SET last_evt_id = GREATEST(c.last_evt_id, free.position), last_time = \(now)
                FROM free WHERE c.ctid = free.place RETURNING c.ident)
            SELECT w.ident, s.ident IS NOT NULL OR COALESCE((SELECT c.session_epoch = w.epoch AND c.last_evt_id >= w.position
                    AND \(info.isOf(generation: "$4")) FROM \(consumers) c WHERE c.ident = w.ident), false),
                s.ident IS NOT NULL OR COALESCE((SELECT c.session_epoch = w.epoch FROM \(consumers) c WHERE c.ident = w.ident), false)
            FROM wanted w LEFT JOIN stored s ON s.ident = w.ident
            """, name: "evt_store")
        // What is wanted is passed on as it is, not put together again, where only the position moves: a long list stays where
        // it is. A poller is seen again after some seconds, not with every poll.
        confirmStatement = Statement(
            """
            WITH confirmed AS (
                UPDATE \(consumers) SET last_evt_id = GREATEST(last_evt_id, $2::bigint), last_time = \(now),
                    want = CASE WHEN want IS DISTINCT FROM $4::text[] THEN $4::text[] ELSE want END
                WHERE ident = $1::text AND \(info.isOf(generation: "$3")) AND (last_evt_id < $2::bigint OR want IS DISTINCT FROM $4::text[]
                    OR last_time < \(now) - interval '5 seconds')
                RETURNING last_evt_id)
            SELECT COALESCE((SELECT last_evt_id FROM confirmed),
                    (SELECT last_evt_id FROM \(consumers) WHERE ident = $1::text AND \(info.isOf(generation: "$3")))),
                EXISTS (SELECT FROM \(consumers) WHERE ident = $1::text),
                (SELECT paused FROM \(consumers) WHERE ident = $1::text),
                (SELECT barrier FROM \(consumers) WHERE ident = $1::text)
            """, name: "evt_confirm")
        newestStatement = Statement(
            "SELECT id FROM \(tables.events.sql) WHERE id > $1::bigint ORDER BY id DESC LIMIT 1", name: "evt_newest")
    }

    /// Claims a consumer's session for a pusher.
    ///
    /// - Parameters:
    ///   - want: what the session wants, for whoever asks how far the consumer is behind.
    ///   - known: what an earlier session has confirmed, stored yet or not.
    ///   - dead: pushers that have shown no sign of life for too long; their sessions may be taken over.
    package func claim(
        _ consumer: ConsumerIdentity, want: EventFilter, isPartial: Bool, knowing known: PositionBook.Entry?,
        of generation: StreamGeneration, for pusher: Int64, dead: [Int64], on connection: Connection,
        completion: @escaping (Result<Claim, PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [
            .text(consumer.description), .int8(pusher), .int8Array(dead), .int8(.random(in: 1...1 << 31)),
            .text(generation.id), known.map { .int8($0.epoch) } ?? .null,
            known.map { .int8($0.position.rawValue) } ?? .null, .types(want),
            .text("\(isPartial)"),
        ]
        connection.submit(claimStatement, parameters) { result in
            completion(
                result.map { rows in
                    if let position = rows.int(0, 0), let epoch = rows.int(0, 1) {
                        var claimed = Claimed(
                            position: EventID(position), epoch: epoch, common: EventID(rows.int(0, 3) ?? 0),
                            discarded: EventID(rows.int(0, 4) ?? 0), isPaused: rows.bool(0, 5) == true)
                        claimed.maxAttempts = rows.int(0, 6).map { Int($0) }
                        claimed.barrier = rows.int(0, 11).map { EventID($0) }
                        claimed.failing = rows.int(0, 7).map {
                            .init(
                                EventID($0), isAlone: rows.bool(0, 10) == true, count: Int(rows.int(0, 8) ?? 0),
                                error: rows.string(0, 9) ?? "")
                        }
                        return .claimed(claimed)
                    }
                    return rows.bool(0, 2) == true ? .busy : .notRegistered
                })
        }
    }

    /// Gives a session up, so that any pusher may claim it at once.
    package func release(
        _ consumer: ConsumerIdentity, of pusher: Int64, epoch: Int64, on connection: Connection,
        completion: @escaping (Result<Void, PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [.text(consumer.description), .int8(pusher), .int8(epoch)]
        connection.submit(releaseStatement, parameters) { completion($0.map { _ in }) }
    }

    /// Takes back a session that was given up, if nobody has claimed it since.
    package func resume(
        _ consumer: ConsumerIdentity, for pusher: Int64, epoch: Int64, on connection: Connection,
        completion: @escaping (Result<Bool, PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [.text(consumer.description), .int8(pusher), .int8(epoch)]
        connection.submit(resumeStatement, parameters) { completion($0.map { $0.affected == 1 }) }
    }

    /// Stores positions, forward only, in one statement.
    package func store(
        _ entries: [PositionBook.Entry], of generation: StreamGeneration, on connection: Connection,
        completion: @escaping (Result<[ConsumerIdentity: Stored], PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [
            .strings(entries.map(\.consumer.description)), .int8Array(entries.map(\.epoch)),
            .int8Array(entries.map(\.position.rawValue)), .text(generation.id),
        ]
        connection.submit(storeStatement, parameters) { result in
            completion(
                result.map { rows in
                    var outcome: [ConsumerIdentity: Stored] = [:]
                    for row in 0..<rows.count {
                        guard let consumer = rows.string(row, 0).flatMap({ ConsumerIdentity($0) }) else { continue }
                        outcome[consumer] =
                            rows.bool(row, 1) == true ? .stored : rows.bool(row, 2) == true ? .locked : .fenced
                    }
                    return outcome
                })
        }
    }

    /// Confirms everything up to `position` for a consumer that polls, and notes what it wants.
    ///
    /// - Returns: to the completion: the stored position, and whether it is paused; nil if the consumer is not registered.
    package func confirm(
        _ consumer: ConsumerIdentity, through position: EventID, want: EventFilter, of generation: StreamGeneration,
        on connection: Connection, completion: @escaping (Result<Polled?, PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [
            .text(consumer.description), .int8(position.rawValue), .text(generation.id), .types(want),
        ]
        connection.submit(confirmStatement, parameters) { result in
            completion(
                result.flatMap { rows in
                    if let position = rows.int(0, 0) {
                        return .success(
                            Polled(
                                position: EventID(position), isPaused: rows.bool(0, 2) == true,
                                barrier: rows.int(0, 3).map { EventID($0) }))
                    }
                    guard rows.bool(0, 1) == true else { return .success(nil) }
                    return .failure(PostgresError(.connectionLost, "a new generation of the stream has begun"))
                })
        }
    }

    /// The newest event visible past `id`, if there is one.
    package func newest(
        after id: EventID, on connection: Connection, completion: @escaping (Result<EventID?, PostgresError>) -> Void
    ) {
        connection.submit(newestStatement, [.int8(id.rawValue)]) { completion($0.map { $0.int(0, 0).map { EventID($0) } }) }
    }
}
