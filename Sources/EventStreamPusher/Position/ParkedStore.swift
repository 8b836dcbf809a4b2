package import EventStream
package import EventStreamDatabase
package import LibPQ

/// Events that consumers could not process: set aside, and delivered again when an operator says so.
///
/// Each statement counts only under the epoch of the session it comes from.
package struct ParkedStore: Sendable {
    /// An event to be set aside.
    package struct Parking: Sendable {
        package let consumer: ConsumerIdentity
        package let epoch: Int64
        package let event: Event
        package let attempts: Int
        package let error: String

        package init(_ consumer: ConsumerIdentity, epoch: Int64, _ event: Event, attempts: Int, error: String) {
            (self.consumer, self.epoch, self.event) = (consumer, epoch, event)
            (self.attempts, self.error) = (attempts, error)
        }
    }

    /// Events to be set aside because an event of the same key is.
    package struct Following: Sendable {
        package let consumer: ConsumerIdentity
        package let epoch: Int64
        package let events: [Event]

        package init(_ consumer: ConsumerIdentity, epoch: Int64, _ events: [Event]) {
            (self.consumer, self.epoch, self.events) = (consumer, epoch, events)
        }
    }

    package enum Parked: Hashable, Sendable {
        /// The session goes on under this epoch.
        case parked(epoch: Int64)
        /// The consumer has as many parked events as it may have.
        case full
        /// The consumer is another session's now, or gone.
        case fenced
    }

    /// What became of a parked event that was delivered again.
    package enum Retried: Hashable, Sendable {
        case processed
        case failed(String)
        /// The connection was closed before an answer: it may have ended its receiver. It is delivered again as often as an event may
        /// fail, and then stays parked.
        case unanswered(limit: Int)
    }

    /// A parked event that is to be delivered again.
    package struct Retry: Sendable {
        package let id: EventID
        package let generation: String
        package let page: EventPage

        package init(id: EventID, generation: String, page: EventPage) {
            (self.id, self.generation, self.page) = (id, generation, page)
        }
    }

    private let parkStatement: Statement
    private let followStatement: Statement
    private let keysStatement: Statement
    private let failedStatement: Statement
    private let nextStatement: Statement
    private let doneStatement: Statement
    private let againStatement: Statement
    private let unansweredStatement: Statement

    package init(_ info: StreamInfo) {
        let tables = info.tables
        let (consumers, parked) = (tables.consumers.sql, tables.parked.sql)
        // The row and the position are one transaction: the event is either before the position and here, or after it.
        parkStatement = Statement(
            """
            WITH mine AS (
                UPDATE \(consumers) c SET last_evt_id = GREATEST(last_evt_id, $3::bigint), session_epoch = session_epoch + $4::bigint,
                    last_time = (now() AT TIME ZONE 'UTC'), failed_evt_id = NULL, failed_attempts = 0, failed_error = NULL
                WHERE ident = $1::text AND session_epoch = $2::bigint AND \(info.isOf(generation: "$5"))
                    AND (SELECT count(*) FROM (SELECT FROM \(parked) p WHERE p.consumer = c.id LIMIT $6::bigint) n) < $6::bigint
                RETURNING id, session_epoch),
            new AS (
                INSERT INTO \(parked) AS p (consumer, id, generation, type, data, ts, attempts, error, key, meta)
                SELECT id, $3::bigint, $5::text::uuid, $7::text, $8::text::json, $9::text::timestamp, $10::bigint::integer, $11::text,
                    $12::text, $13::text::json
                FROM mine
                ON CONFLICT (consumer, generation, id) DO UPDATE SET attempts = p.attempts + excluded.attempts, error = excluded.error,
                    parked = excluded.parked, retry = NULL)
            SELECT (SELECT session_epoch FROM mine),
                EXISTS (SELECT FROM \(consumers) c WHERE ident = $1::text AND session_epoch = $2::bigint
                    AND (SELECT count(*) FROM \(parked) p WHERE p.consumer = c.id) >= $6::bigint)
            """, name: "evt_park")
        // The lock keeps the epoch until these are committed. An event whose key is to be delivered again by now goes with it; one
        // that was parked in an earlier generation of the stream is.
        let isFull =
            "(SELECT count(*) FROM (SELECT FROM \(parked) p WHERE p.consumer = c.id LIMIT $4::bigint) n) > $4::bigint - cardinality($5::bigint[])"
        followStatement = Statement(
            """
            WITH mine AS MATERIALIZED (
                SELECT id, session_epoch, \(isFull) AS is_full FROM \(consumers) c
                WHERE ident = $1::text AND session_epoch = $2::bigint AND \(info.isOf(generation: "$3")) FOR SHARE),
            new AS (
                INSERT INTO \(parked) (consumer, id, generation, type, data, ts, attempts, error, key, meta, retry)
                SELECT mine.id, e.id, $3::text::uuid, e.type, e.data::json, e.ts::timestamp, 0, 'an event of the same key is parked',
                    e.key, NULLIF(e.meta, '')::json, CASE WHEN EXISTS (
                        SELECT FROM \(parked) p WHERE p.consumer = mine.id AND p.key = e.key AND p.retry IS NOT NULL)
                        THEN clock_timestamp() END
                FROM mine, unnest($5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])
                    AS e (id, type, data, ts, key, meta)
                WHERE NOT is_full AND NOT EXISTS (
                    SELECT FROM \(parked) p WHERE p.consumer = mine.id AND p.id = e.id AND p.type = e.type AND p.ts = e.ts::timestamp)
                ON CONFLICT (consumer, generation, id) DO NOTHING)
            SELECT CASE WHEN NOT is_full THEN session_epoch END, is_full FROM mine
            """, name: "evt_follow")
        keysStatement = Statement(
            """
            SELECT DISTINCT key FROM \(parked)
            WHERE consumer = (SELECT id FROM \(consumers) WHERE ident = $1::text) AND key IS NOT NULL
            """, name: "evt_parked_keys")
        // A row that somebody has locked must not hold up the others: the next failure is stored.
        failedStatement = Statement(
            """
            UPDATE \(consumers) SET failed_evt_id = $3::bigint, failed_attempts = $4::bigint, failed_error = $5::text,
                failed_alone = $6::boolean
            WHERE ctid = (SELECT ctid FROM \(consumers) WHERE ident = $1::text AND session_epoch = $2::bigint
                AND \(info.isOf(generation: "$7")) FOR UPDATE SKIP LOCKED)
            """, name: "evt_failed")
        let isMine = "p.consumer = (SELECT c.id FROM \(consumers) c WHERE c.ident = $1::text AND c.session_epoch = $2::bigint)"
        // What is said of one event of a key counts for the key: its first event comes first. A later generation has greater ids.
        let isOfKey =
            "p.key = (SELECT o.key FROM \(parked) o WHERE o.consumer = p.consumer AND o.id = $3::bigint AND o.generation = $4::text::uuid)"
        let isEvent = "id = $3::bigint AND generation = $4::text::uuid"
        nextStatement = Statement(
            """
            SELECT id, type, data, ts, generation::text, key, meta FROM \(parked) p
            WHERE \(isMine) AND (retry IS NOT NULL OR key IN (SELECT key FROM \(parked) p WHERE \(isMine) AND retry IS NOT NULL))
                AND (id <= $3::bigint OR NOT \(info.isOf(generation: "p.generation")))
            ORDER BY id, \(info.isOf(generation: "p.generation")) LIMIT 1
            """, name: "evt_parked_next", binaryResults: true)
        doneStatement = Statement(
            """
            WITH done AS (DELETE FROM \(parked) p WHERE \(isMine) AND \(isEvent) RETURNING consumer, key),
            next AS (
                UPDATE \(parked) p SET retry = clock_timestamp() FROM done
                WHERE p.consumer = done.consumer AND p.key = done.key AND p.retry IS NULL AND NOT (\(isEvent)))
            SELECT key FROM done WHERE key IS NOT NULL AND NOT EXISTS (
                SELECT FROM \(parked) p WHERE p.consumer = done.consumer AND p.key = done.key AND NOT (\(isEvent)))
            """, name: "evt_parked_done")
        againStatement = Statement(
            """
            UPDATE \(parked) p SET retry = NULL, attempts = attempts + CASE WHEN \(isEvent) THEN 1 ELSE 0 END,
                error = CASE WHEN \(isEvent) THEN $5::text ELSE error END
            WHERE \(isMine) AND (\(isEvent) OR retry IS NOT NULL AND \(isOfKey))
            """, name: "evt_parked_again")
        unansweredStatement = Statement(
            """
            WITH failed AS (
                UPDATE \(parked) p SET attempts = attempts + 1, error = 'the connection was closed before an answer',
                    retry = CASE WHEN (attempts + 1) % GREATEST($5::bigint, 1) = 0 THEN NULL ELSE retry END
                WHERE \(isMine) AND \(isEvent) RETURNING consumer, key, retry)
            UPDATE \(parked) p SET retry = NULL FROM failed f
            WHERE p.consumer = f.consumer AND p.key = f.key AND f.retry IS NULL AND p.retry IS NOT NULL 
                AND NOT (p.id = $3::bigint AND p.generation = $4::text::uuid)
            """, name: "evt_parked_unanswered")
    }

    /// - Parameter limit: parked events the consumer may have.
    package func park(
        _ parking: Parking, limit: Int, of generation: StreamGeneration, on connection: Connection,
        completion: @escaping (Result<Parked, PostgresError>) -> Void
    ) {
        let event = parking.event
        let parameters: [Parameter] = [
            .text(parking.consumer.description), .int8(parking.epoch), .int8(event.id.rawValue), .int8(.random(in: 1...1 << 31)),
            .text(generation.id), .int8(Int64(limit)), .text(event.type.description), .utf8(event.data.bytes),
            .text(ParkedStore.time(of: event)), .int8(Int64(parking.attempts)),
            .text(parking.error), .optional(event.key), event.meta.map { .utf8($0.bytes) } ?? .null,
        ]
        connection.submit(parkStatement, parameters) { completion($0.map(ParkedStore.parked)) }
    }

    private static func time(of event: Event) -> String {
        let time = String(decoding: event.timestamp.wire.dropLast(), as: UTF8.self)
        return "\(time).\(String(1_000_000 + event.timestamp.fraction).dropFirst())"
    }

    /// Sets aside what follows parked events of the same keys; the position passes it later.
    ///
    /// - Parameter limit: parked events the consumer may have.
    package func follow(
        _ following: Following, limit: Int, of generation: StreamGeneration, on connection: Connection,
        completion: @escaping (Result<Parked, PostgresError>) -> Void
    ) {
        let events = following.events
        let parameters: [Parameter] = [
            .text(following.consumer.description), .int8(following.epoch), .text(generation.id), .int8(Int64(limit)),
            .int8Array(events.map(\.id.rawValue)),
            .strings(events.map(\.type.description)), .textArray(events.map(\.data.bytes)),
            .strings(events.map(ParkedStore.time)), .strings(events.map { $0.key ?? "" }),
            .textArray(events.map { $0.meta?.bytes ?? [] }),
        ]
        connection.submit(followStatement, parameters) { completion($0.map(ParkedStore.parked)) }
    }

    private static func parked(_ rows: Rows) -> Parked {
        rows.int(0, 0).map { .parked(epoch: $0) } ?? (rows.bool(0, 1) == true ? .full : .fenced)
    }

    /// The keys of which events are parked.
    package func keys(
        of consumer: ConsumerIdentity, on connection: Connection, completion: @escaping (Result<[String], PostgresError>) -> Void
    ) {
        connection.submit(keysStatement, [.text(consumer.description)]) { result in
            completion(result.map { rows in (0..<rows.count).compactMap { rows.string($0, 0) } })
        }
    }

    /// Stores how often the event at a consumer's position has failed.
    package func failed(
        _ failing: Attempts.Failing, of consumer: ConsumerIdentity, epoch: Int64, _ generation: StreamGeneration,
        on connection: Connection,
        completion: @escaping (Result<Void, PostgresError>) -> Void
    ) {
        connection.submit(
            failedStatement,
            [
                .text(consumer.description), .int8(epoch), .int8(failing.event.rawValue), .int8(Int64(failing.count)),
                .text(failing.error), .bool(failing.isAlone), .text(generation.id),
            ]
        ) { completion($0.map { _ in }) }
    }

    /// The parked event that is to be delivered again first; nil if there is none.
    package func next(
        of consumer: ConsumerIdentity, epoch: Int64, through cursor: EventID, on connection: Connection,
        completion: @escaping (Result<Retry?, PostgresError>) -> Void
    ) {
        connection.submit(nextStatement, [.text(consumer.description), .int8(epoch), .int8(cursor.rawValue)]) { result in
            completion(
                result.map { rows in
                    guard rows.count > 0 else { return nil }
                    let id = EventID(rows.binaryInt8(0, 0))
                    var page = EventPageBuilder(after: EventID(id.rawValue - 1))
                    page.append(
                        id: id, type: rows.bytes(0, 1), data: rows.bytes(0, 2),
                        timestamp: EventTimestamp(postgres: rows.binaryInt8(0, 3)), key: rows.bytesUnlessNull(0, 5),
                        meta: rows.bytesUnlessNull(0, 6))
                    return Retry(id: id, generation: rows.string(0, 4) ?? "", page: page.build(through: id))
                })
        }
    }

    /// A parked event was delivered again.
    ///
    /// - Returns: to the completion: its key, if no event of this key is parked any more.
    package func retried(
        _ id: EventID, of generation: String, _ outcome: Retried, _ consumer: ConsumerIdentity, epoch: Int64,
        on connection: Connection, completion: @escaping (Result<String?, PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [
            .text(consumer.description), .int8(epoch), .int8(id.rawValue), .text(generation),
        ]
        let (statement, more): (Statement, [Parameter]) =
            switch outcome {
            case .processed: (doneStatement, [])
            case .failed(let error): (againStatement, [.text(Attempts.text(error))])
            case .unanswered(let limit): (unansweredStatement, [.int8(Int64(limit))])
            }
        connection.submit(statement, parameters + more) { completion($0.map { $0.count > 0 ? $0.string(0, 0) : nil }) }
    }
}
