package import EventStream
package import EventStreamDatabase
package import LibPQ

/// Registers consumers.
package struct ConsumerRegistering: Sendable {
    /// A consumer that is to be registered.
    package struct Registration: Hashable, Sendable {
        package let consumer: ConsumerIdentity
        /// How many slices it is cut into; nil for none.
        package let slices: Int?
        /// What it may see, until it says what it wants.
        package let want: EventFilter
        /// Consumers its user may have.
        package let limit: Int
        /// Its position; nil for the one before the oldest event that is certain to be in the table.
        package var position: EventID?
        /// Positions below the discarded events may not be lower; nil if there may be none at all.
        package var lowest: EventID?

        package init(_ consumer: ConsumerIdentity, slices: Int? = nil, want: EventFilter, limit: Int) {
            (self.consumer, self.slices, self.want, self.limit) = (consumer, slices, want, limit)
        }

        /// The consumers it stands for in the table.
        fileprivate var idents: [String] {
            slices.map { consumer.slices($0).map(\.description) } ?? [consumer.description]
        }
    }

    package enum Registered: Hashable, Sendable {
        case done
        /// It is registered with this many slices.
        case otherwise(slices: Int?)
        /// Its user has too many consumers already.
        case tooMany
        /// Events after its position are discarded up to here, and may not be.
        case discarded(through: EventID)
    }

    private let knownStatement: Statement
    private let registerStatement: Statement
    private let placeStatements: (given: Statement, lock: Statement, insert: Statement)
    private let cutStatement: Statement
    private let mayRegisterStatement: Statement

    package init(_ info: StreamInfo) {
        let tables = info.tables
        let consumers = tables.consumers.sql
        let now = "(now() AT TIME ZONE 'UTC')"
        // Asked first: the INSERT's trigger waits for the discarder, also where there is nothing to insert. How many slices there
        // are is in the name of each.
        let isOfIt = ConsumerAdmin.isOfIt
        knownStatement = Statement(
            "SELECT split_part(split_part(ident, '/', 2), '.', 2) FROM \(consumers) WHERE \(isOfIt) LIMIT 1", name: "evt_known")
        // Slices count as one. Whoever cuts the same consumer otherwise at the same time waits for the lock.
        let mine = "count(DISTINCT split_part(ident, '/', 1)) AS count, COALESCE(bool_or(\(isOfIt)), false) AS is_known"
        let its = "FROM \(consumers) WHERE starts_with(ident, $2::text || ':')"
        registerStatement = Statement(
            """
            WITH mine AS MATERIALIZED (SELECT \(mine) \(its)),
            new AS (
                INSERT INTO \(consumers) (ident, last_evt_id, reg_time, last_time, want)
                SELECT i, 0, \(now), \(now), $4::text[] FROM mine, unnest($5::text[]) i WHERE count < $3::bigint AND NOT is_known
                ON CONFLICT (ident) DO NOTHING)
            SELECT count < $3::bigint OR is_known FROM mine
            """, name: "evt_register")
        // The lock first: what is discarded is looked at, and the position inserted, while nothing is being discarded.
        placeStatements = (
            Statement("SELECT set_config('eventstream.position', 'given', true)"),
            Statement("SELECT pg_advisory_xact_lock_shared(\(info.key(of: .discard)))"),
            Statement(
                """
                WITH mine AS MATERIALIZED (
                    SELECT \(mine), (SELECT discarded FROM \(tables.state.sql)) AS discarded \(its)),
                new AS (
                    INSERT INTO \(consumers) (ident, last_evt_id, reg_time, last_time, want)
                    SELECT i, $6::bigint, \(now), \(now), $4::text[] FROM mine, unnest($5::text[]) i
                    WHERE count < $3::bigint AND NOT is_known AND ($6::bigint >= discarded OR $6::bigint >= $7::bigint)
                    ON CONFLICT (ident) DO NOTHING)
                SELECT is_known OR count < $3::bigint, is_known OR $6::bigint >= discarded OR COALESCE($6::bigint >= $7::bigint, false),
                    discarded
                FROM mine
                """)
        )
        cutStatement = Statement(
            "SELECT pg_advisory_xact_lock((\(info.tableOID)::bigint::bit(32))::integer, hashtext($1::text))")
        mayRegisterStatement = Statement(
            "SELECT pg_try_advisory_xact_lock_shared(\(info.key(of: .discard)))", name: "evt_may_register")
    }

    /// How many slices a registered consumer is cut into, 1 for none; nil if it is not registered.
    package func slices(
        of consumer: ConsumerIdentity, on connection: Connection, completion: @escaping (Result<Int?, PostgresError>) -> Void
    ) {
        connection.submit(knownStatement, [.text(consumer.whole.description)]) {
            completion($0.map { rows in rows.count == 0 ? nil : Int(rows.string(0, 0) ?? "") ?? 1 })
        }
    }

    /// Registers a consumer; doing it again changes nothing.
    package func register(
        _ new: Registration, on connection: Connection, completion: @escaping (Result<Registered, PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [
            .text(new.consumer.description), .text(new.consumer.user), .int8(Int64(new.limit)), .types(new.want),
            .strings(new.idents),
        ]
        slices(of: new.consumer, on: connection) { [self] known in
            switch known {
            case .success(nil): break
            case .success(let present?):
                return completion(
                    .success(present == new.slices ?? 1 ? .done : .otherwise(slices: present > 1 ? present : nil)))
            case .failure(let error): return completion(.failure(error))
            }
            let place: [Parameter]? = new.position.map {
                [.int8($0.rawValue), new.lowest.map { .int8($0.rawValue) } ?? .null]
            }
            guard place != nil || new.slices != nil else {
                return connection.submit(registerStatement, parameters) {
                    completion($0.map { $0.bool(0, 0) == true ? .done : .tooMany })
                }
            }
            insert(new, parameters, place, on: connection, completion: completion)
        }
    }

    /// At a position of its own, or with slices: a transaction, sent at once.
    private func insert(
        _ new: Registration, _ parameters: [Parameter], _ place: [Parameter]?, on connection: Connection,
        completion: @escaping (Result<Registered, PostgresError>) -> Void
    ) {
        var failure: PostgresError?
        func noting(_ result: Result<Rows, PostgresError>) {
            if case .failure(let error) = result { failure = failure ?? error }
        }
        var registered = Registered.done
        connection.submit(Statement("BEGIN")) { noting($0) }
        if new.slices != nil { connection.submit(cutStatement, [.text(new.consumer.description)]) { noting($0) } }
        if place != nil {
            for statement in [placeStatements.given, placeStatements.lock] { connection.submit(statement) { noting($0) } }
        }
        connection.submit(place == nil ? registerStatement : placeStatements.insert, parameters + (place ?? [])) { result in
            noting(result)
            guard case .success(let rows) = result else { return }
            guard place != nil else { return registered = rows.bool(0, 0) == true ? .done : .tooMany }
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
