package import EventStream
package import LibPQ

/// What an operator does to consumers. Every change ends a session that may be under way: its receiver starts anew.
package struct ConsumerAdmin: Sendable {
    private let info: StreamInfo
    private var consumers: String { info.tables.consumers.sql }

    package init(_ info: StreamInfo) { self.info = info }

    /// - Returns: false if it was registered already.
    package func register(_ consumer: ConsumerIdentity, on connection: Connection) async throws -> Bool {
        // Asked first: the INSERT's trigger waits for the discarder, also where there is nothing to insert.
        let known = try await connection.query(
            Statement("SELECT FROM \(consumers) WHERE ident = $1::text"), [.text(consumer.description)])
        guard known.count == 0 else { return false }
        let deadline = ContinuousClock.now + ConsumerAdmin.timeout
        while true {
            do {
                return try await insert(consumer, on: connection)
            } catch let error as PostgresError where error.sqlState == .lockNotAvailable && ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private func insert(_ consumer: ConsumerIdentity, on connection: Connection) async throws -> Bool {
        try await connection.query(
            Statement("INSERT INTO \(consumers) (ident) VALUES ($1::text) ON CONFLICT (ident) DO NOTHING"),
            [.text(consumer.description)]
        ).affected == 1
    }

    /// For so long a registration is tried again beside a discarder that is busy.
    private static let timeout = Duration.seconds(10)

    /// A condition: no pusher that is alive has a session for the consumer, or `$1` of the parameters says that this does not
    /// matter. Decided by the statement that changes the row.
    private func mayChange(_ evenIfServed: String) -> String {
        // A pusher holds the advisory lock of its own id for as long as its connection lives.
        "(\(evenIfServed)::boolean OR session_owner IS NULL OR pg_try_advisory_xact_lock_shared(session_owner))"
    }

    private func exists(_ ident: String, on connection: Connection) async throws(PostgresError) -> Bool {
        try await connection.query(Statement("SELECT FROM \(consumers) WHERE ident = $1"), [.text(ident)]).count > 0
    }

    /// - Parameter evenIfServed: its receiver registers again, and begins with the oldest event there still is.
    /// - Returns: false if there was no such consumer.
    /// - Throws: ``StoreError`` if it is served.
    package func remove(_ ident: String, evenIfServed: Bool = false, on connection: Connection) async throws -> Bool {
        let removed = try await connection.query(
            Statement("DELETE FROM \(consumers) WHERE ident = $1 AND \(mayChange("$2"))"),
            [.text(ident), .text("\(evenIfServed)")])
        guard removed.affected == 0, try await exists(ident, on: connection) else { return removed.affected == 1 }
        throw StoreError(
            "\(ident) is at work: its receiver would register the consumer again, get events again, and miss events that are discarded "
                + "meanwhile. Stop the receiver first; the session of a receiver that has died ends after EVT_SESSION_TIMEOUT")
    }

    /// Gives a consumer's position to another name.
    ///
    /// - Parameter evenIfServed: its receiver loses the session, and registers the present name again.
    /// - Throws: ``StoreError`` if there is no such consumer, it is served, or the new name is taken.
    package func rename(
        _ ident: String, to new: ConsumerIdentity, evenIfServed: Bool = false, on connection: Connection
    ) async throws {
        do {
            let renamed = try await connection.query(
                Statement(
                    """
                    UPDATE \(consumers) SET ident = $2, session_owner = NULL, session_epoch = session_epoch + 1
                    WHERE ident = $1 AND \(mayChange("$3"))
                    """), [.text(ident), .text(new.description), .text("\(evenIfServed)")])
            guard renamed.affected == 1 else {
                guard try await exists(ident, on: connection) else { throw StoreError("there is no consumer \(ident)") }
                throw StoreError(
                    "\(ident) is at work: its receiver would register that name again and get every event again, and nobody would "
                        + "receive for \(new). Stop the receiver first (the session of a receiver that has died ends after "
                        + "EVT_SESSION_TIMEOUT), or use --force")
            }
            try await connection.query(
                Statement("UPDATE \(info.tables.archives.sql) SET ident = $2 WHERE ident = $1"),
                [.text(ident), .text(new.description)])
        } catch let error as PostgresError where error.sqlState == .uniqueViolation {
            throw StoreError("there is a consumer \(new) already; remove it first if its position is of no use")
        }
    }

    /// Stops the delivery to a consumer, or lets it go on; it holds events like any other meanwhile. A session that is under way goes on.
    ///
    /// - Throws: ``StoreError`` if there is no such consumer.
    package func pause(_ ident: String, _ isPaused: Bool, on connection: Connection) async throws {
        let changed = try await connection.query(
            Statement("UPDATE \(consumers) SET paused = $2::boolean WHERE ident = $1"), [.text(ident), .text("\(isPaused)")])
        guard changed.affected == 1 else { throw StoreError("there is no consumer \(ident)") }
    }

    /// Whether a consumer is an archiver: it has begun its work in a warehouse, or its archive was compared.
    package func isArchiver(_ ident: String, on connection: Connection) async throws -> Bool {
        if try await ArchiveTokens(info).hasAny(of: ident, on: connection) { return true }
        return try await connection.query(
            Statement("SELECT FROM \(consumers) WHERE ident = $1 AND verified_evt_id > 0"), [.text(ident)]
        ).count > 0
    }

    /// Moves a position, in either direction, but never past what is settled.
    ///
    /// - Parameter position: nil for the newest event.
    /// - Returns: where it is now, and whether some events after it have been discarded already.
    package func set(
        _ ident: String, to position: EventID?, on connection: Connection
    ) async throws -> (position: EventID, someDiscarded: Bool) {
        let settled = try await WriterQueries(info).settledFloor(on: connection)
        if let position, position > settled {
            throw StoreError("\(position) is beyond \(settled), the newest event that is certain to have none before it to come")
        }
        let target = position ?? settled
        let discarded = try await move(ident, "$2::bigint", to: target, on: connection)
        return (target, discarded > target)
    }

    /// While the discarder neither decides nor deletes: what it has discarded is known afterwards.
    ///
    /// - Returns: up to where events are discarded.
    private func move(
        _ ident: String, _ position: String, to target: EventID, on connection: Connection
    ) async throws -> EventID {
        let rows = try await connection.transaction([
            (Statement("SELECT pg_advisory_xact_lock_shared($1::bigint)"), [.int8(info.key(of: .discard))]),
            (
                Statement(
                    """
                    UPDATE \(consumers) SET last_evt_id = \(position), session_owner = NULL, session_epoch = session_epoch + 1
                    WHERE ident = $1
                    """), [.text(ident), .int8(target.rawValue)]
            ),
            (Statement("SELECT discarded FROM \(info.tables.state.sql)"), []),
        ])
        guard rows[1].affected == 1 else { throw StoreError("there is no consumer \(ident)") }
        return EventID(rows[2].int(0, 0) ?? 0)
    }

    /// Whether a pusher that is alive has a session for the consumer.
    package func isServed(_ ident: String, on connection: Connection) async throws -> Bool {
        // A pusher holds the advisory lock of its own id for as long as its connection lives.
        try await connection.query(
            Statement(
                """
                SELECT FROM \(consumers) WHERE ident = $1 AND session_owner IS NOT NULL
                    AND NOT pg_try_advisory_xact_lock_shared(session_owner)
                """), [.text(ident)]
        ).count > 0
    }

    /// Moves the position of a consumer that nobody serves back.
    ///
    /// - Returns: up to where events are discarded already.
    /// - Throws: ``StoreError`` if there is no such consumer, or it is served.
    package func rewind(_ consumer: ConsumerIdentity, to position: EventID, on connection: Connection) async throws -> EventID {
        guard try await !isServed(consumer.description, on: connection) else {
            throw StoreError("\(consumer) is at work: stop it first")
        }
        return try await move(consumer.description, "LEAST(last_evt_id, $2::bigint)", to: position, on: connection)
    }
}
