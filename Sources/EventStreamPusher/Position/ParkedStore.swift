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

    package enum Parked: Hashable, Sendable {
        /// The position has passed the event; the session goes on under this epoch.
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
        // A row that somebody has locked must not hold up the others: the next failure is stored.
        failedStatement = Statement(
            """
            UPDATE \(consumers) SET failed_evt_id = $3::bigint, failed_attempts = $4::bigint, failed_error = $5::text,
                failed_alone = $6::boolean
            WHERE ctid = (SELECT ctid FROM \(consumers) WHERE ident = $1::text AND session_epoch = $2::bigint
                AND \(info.isOf(generation: "$7")) FOR UPDATE SKIP LOCKED)
            """, name: "evt_failed")
        let isMine = "p.consumer = (SELECT c.id FROM \(consumers) c WHERE c.ident = $1::text AND c.session_epoch = $2::bigint)"
        nextStatement = Statement(
            """
            SELECT id, type, data, ts, generation::text, key, meta FROM \(parked) p
            WHERE \(isMine) AND retry IS NOT NULL ORDER BY id LIMIT 1
            """, name: "evt_parked_next", binaryResults: true)
        doneStatement = Statement(
            "DELETE FROM \(parked) p WHERE \(isMine) AND id = $3::bigint AND generation = $4::text::uuid AND retry IS NOT NULL",
            name: "evt_parked_done")
        againStatement = Statement(
            """
            UPDATE \(parked) p SET retry = NULL, attempts = attempts + 1, error = $5::text
            WHERE \(isMine) AND id = $3::bigint AND generation = $4::text::uuid
            """, name: "evt_parked_again")
        unansweredStatement = Statement(
            """
            UPDATE \(parked) p SET attempts = attempts + 1, error = 'the connection was closed before an answer',
                retry = CASE WHEN (attempts + 1) % GREATEST($5::bigint, 1) = 0 THEN NULL ELSE retry END
            WHERE \(isMine) AND id = $3::bigint AND generation = $4::text::uuid
            """, name: "evt_parked_unanswered")
    }

    /// - Parameter limit: parked events the consumer may have.
    package func park(
        _ parking: Parking, limit: Int, of generation: StreamGeneration, on connection: Connection,
        completion: @escaping (Result<Parked, PostgresError>) -> Void
    ) {
        let event = parking.event
        let time = String(decoding: event.timestamp.wire.dropLast(), as: UTF8.self)
        let parameters: [Parameter] = [
            .text(parking.consumer.description), .int8(parking.epoch), .int8(event.id.rawValue), .int8(.random(in: 1...1 << 31)),
            .text(generation.id), .int8(Int64(limit)), .text(event.type.description), .utf8(event.data.bytes),
            .text("\(time).\(String(1_000_000 + event.timestamp.fraction).dropFirst())"), .int8(Int64(parking.attempts)),
            .text(parking.error), .optional(event.key), event.meta.map { .utf8($0.bytes) } ?? .null,
        ]
        connection.submit(parkStatement, parameters) { result in
            completion(
                result.map { rows in
                    rows.int(0, 0).map { .parked(epoch: $0) } ?? (rows.bool(0, 1) == true ? .full : .fenced)
                })
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
        of consumer: ConsumerIdentity, epoch: Int64, on connection: Connection,
        completion: @escaping (Result<Retry?, PostgresError>) -> Void
    ) {
        connection.submit(nextStatement, [.text(consumer.description), .int8(epoch)]) { result in
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
    package func retried(
        _ id: EventID, of generation: String, _ outcome: Retried, _ consumer: ConsumerIdentity, epoch: Int64,
        on connection: Connection, completion: @escaping (Result<Void, PostgresError>) -> Void
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
        connection.submit(statement, parameters + more) { completion($0.map { _ in }) }
    }
}
