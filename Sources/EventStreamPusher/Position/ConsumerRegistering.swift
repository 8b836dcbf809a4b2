package import EventStream
package import EventStreamDatabase
package import LibPQ

/// Registers consumers.
package struct ConsumerRegistering: Sendable {
    /// A consumer that is to be registered.
    package struct Registration: Hashable, Sendable {
        package let consumer: ConsumerIdentity
        /// What it may see, until it says what it wants.
        package let want: EventFilter
        /// Consumers its user may have.
        package let limit: Int
        /// Its position; nil for the one before the oldest event that is certain to be in the table.
        package var position: EventID?
        /// Positions below the discarded events may not be lower; nil if there may be none at all.
        package var lowest: EventID?

        package init(_ consumer: ConsumerIdentity, want: EventFilter, limit: Int) {
            (self.consumer, self.want, self.limit) = (consumer, want, limit)
        }
    }

    package enum Registered: Hashable, Sendable {
        case done
        /// Its user has too many consumers already.
        case tooMany
        /// Events after its position are discarded up to here, and may not be.
        case discarded(through: EventID)
    }

    private let knownStatement: Statement
    private let registerStatement: Statement
    private let placeStatements: (given: Statement, lock: Statement, insert: Statement)
    private let mayRegisterStatement: Statement

    package init(_ info: StreamInfo) {
        let tables = info.tables
        let consumers = tables.consumers.sql
        let now = "(now() AT TIME ZONE 'UTC')"
        // Asked first: the INSERT's trigger waits for the discarder, also where there is nothing to insert.
        knownStatement = Statement("SELECT FROM \(consumers) WHERE ident = $1::text", name: "evt_known")
        registerStatement = Statement(
            """
            WITH mine AS MATERIALIZED (SELECT count(*) AS count FROM \(consumers) WHERE starts_with(ident, $2::text || ':')),
            new AS (
                INSERT INTO \(consumers) (ident, last_evt_id, reg_time, last_time, want)
                SELECT $1::text, 0, \(now), \(now), $4::text[] FROM mine
                WHERE count < $3::bigint AND NOT EXISTS (SELECT FROM \(consumers) WHERE ident = $1::text)
                ON CONFLICT (ident) DO NOTHING)
            SELECT count < $3::bigint OR EXISTS (SELECT FROM \(consumers) WHERE ident = $1::text) FROM mine
            """, name: "evt_register")
        // The lock first: what is discarded is looked at, and the position inserted, while nothing is being discarded.
        placeStatements = (
            Statement("SELECT set_config('eventstream.position', 'given', true)"),
            Statement("SELECT pg_advisory_xact_lock_shared(\(info.key(of: .discard)))"),
            Statement(
                """
                WITH mine AS MATERIALIZED (
                    SELECT count(*) AS count, EXISTS (SELECT FROM \(consumers) WHERE ident = $1::text) AS is_known,
                        (SELECT discarded FROM \(tables.state.sql)) AS discarded
                    FROM \(consumers) WHERE starts_with(ident, $2::text || ':')),
                new AS (
                    INSERT INTO \(consumers) (ident, last_evt_id, reg_time, last_time, want)
                    SELECT $1::text, $5::bigint, \(now), \(now), $4::text[] FROM mine
                    WHERE count < $3::bigint AND NOT is_known AND ($5::bigint >= discarded OR $5::bigint >= $6::bigint)
                    ON CONFLICT (ident) DO NOTHING)
                SELECT is_known OR count < $3::bigint, is_known OR $5::bigint >= discarded OR COALESCE($5::bigint >= $6::bigint, false),
                    discarded
                FROM mine
                """)
        )
        mayRegisterStatement = Statement(
            "SELECT pg_try_advisory_xact_lock_shared(\(info.key(of: .discard)))", name: "evt_may_register")
    }

    package func isRegistered(
        _ consumer: ConsumerIdentity, on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void
    ) { connection.submit(knownStatement, [.text(consumer.description)]) { completion($0.map { $0.count > 0 }) } }

    /// Registers a consumer; doing it again changes nothing.
    package func register(
        _ new: Registration, on connection: Connection, completion: @escaping (Result<Registered, PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [
            .text(new.consumer.description), .text(new.consumer.user), .int8(Int64(new.limit)), .types(new.want),
        ]
        connection.submit(knownStatement, [.text(new.consumer.description)]) { [self] known in
            guard case .success(let rows) = known, rows.count == 0 else { return completion(known.map { _ in .done }) }
            guard let position = new.position else {
                return connection.submit(registerStatement, parameters) {
                    completion($0.map { $0.bool(0, 0) == true ? .done : .tooMany })
                }
            }
            let place: [Parameter] = [.int8(position.rawValue), new.lowest.map { .int8($0.rawValue) } ?? .null]
            insert(parameters + place, on: connection, completion: completion)
        }
    }

    /// At a position of its own: a transaction, sent at once.
    private func insert(
        _ parameters: [Parameter], on connection: Connection, completion: @escaping (Result<Registered, PostgresError>) -> Void
    ) {
        var failure: PostgresError?
        func noting(_ result: Result<Rows, PostgresError>) {
            if case .failure(let error) = result { failure = failure ?? error }
        }
        var registered = Registered.done
        for statement in [Statement("BEGIN"), placeStatements.given, placeStatements.lock] {
            connection.submit(statement) { noting($0) }
        }
        connection.submit(placeStatements.insert, parameters) { result in
            noting(result)
            guard case .success(let rows) = result else { return }
            let discarded = EventID(rows.int(0, 2) ?? 0)
            registered =
                rows.bool(0, 0) != true ? .tooMany : rows.bool(0, 1) != true ? .discarded(through: discarded) : .done
        }
        connection.submit(Statement("COMMIT")) { result in
            noting(result)
            completion(failure.map { .failure($0) } ?? .success(registered))
        }
    }

    /// Whether the lock that registering shares is to be had at the moment.
    package func mayRegister(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(mayRegisterStatement, []) { completion($0.map { $0.bool(0, 0) == true }) }
    }
}
