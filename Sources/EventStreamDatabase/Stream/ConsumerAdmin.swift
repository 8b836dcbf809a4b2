package import EventStream
package import LibPQ

/// What an operator does to consumers. Every change ends a session that may be under way: its receiver starts anew.
package struct ConsumerAdmin: Sendable {
    package let info: StreamInfo
    private var consumers: String { info.tables.consumers.sql }

    package init(_ info: StreamInfo) { self.info = info }

    /// Where a consumer stands after a change.
    package struct Placement: Hashable, Sendable {
        package let position: EventID
        /// Up to here events are discarded.
        package let discarded: EventID
        /// Whether a session was under way, which has ended.
        package var wasServed = false
    }

    /// What finds positions to begin at.
    ///
    /// - Parameter archive: nil if none is set.
    package func starts(_ archive: ArchiveOnDemand?) -> StartResolver { StartResolver(info, archive) }

    /// Registers a consumer.
    ///
    /// - Parameters:
    ///   - slices: how many slices it is cut into; nil for none.
    ///   - start: nil for the oldest event that is not discarded.
    ///   - archive: gives the events that are discarded; nil if none is set.
    /// - Returns: nil if it was registered already: nothing is changed then.
    /// - Throws: ``StoreError`` if events after the start cannot be had.
    package func register(
        _ consumer: ConsumerIdentity, slices: Int? = nil, at start: StartPosition? = nil, archive: ArchiveOnDemand? = nil,
        on connection: Connection
    ) async throws -> Placement? {
        // Asked first: the INSERT's trigger waits for the discarder, also where there is nothing to insert.
        let present = try await idents(of: consumer, on: connection)
        guard present.isEmpty else {
            let count = ConsumerIdentity(present[0])?.component.slice?.count
            guard count == slices else {
                throw StoreError("\(consumer) is registered already, \(count.map { "with \($0) slices" } ?? "without slices")")
            }
            return nil
        }
        // Before the discarder has to wait: a search for a time may take long.
        var position: EventID?
        if let start { position = try await starts(archive).position(of: start, for: consumer.description, on: connection) }
        let deadline = ContinuousClock.now + ConsumerAdmin.timeout
        while true {
            do {
                return try await insert(consumer, slices, at: position, archive, on: connection)
            } catch let error as PostgresError where error.sqlState == .lockNotAvailable && ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private func insert(
        _ consumer: ConsumerIdentity, _ slices: Int?, at position: EventID?, _ archive: ArchiveOnDemand?,
        on connection: Connection
    ) async throws -> Placement? {
        try await connection.transaction {
            try await shareDiscardLock(on: connection)
            let starts = starts(archive)
            let discarded =
                if let position {
                    try await starts.check(position, for: consumer.description, on: connection)
                } else {
                    try await starts.discarded(on: connection)
                }
            try await connection.query("SET LOCAL eventstream.position = 'given'")
            let inserted = try await connection.query(
                Statement(
                    """
                    INSERT INTO \(consumers) (ident, last_evt_id) SELECT i, $2::bigint FROM unnest($1::text[]) i
                    ON CONFLICT (ident) DO NOTHING
                    """),
                [
                    .strings((slices.map { consumer.slices($0) } ?? [consumer]).map(\.description)),
                    .int8((position ?? discarded).rawValue),
                ])
            return inserted.affected == slices ?? 1 ? Placement(position: position ?? discarded, discarded: discarded) : nil
        }
    }

    /// A condition: the consumer that `$1` names, or a slice of it.
    package static let isOfIt = "(ident = $1::text OR starts_with(ident, $1::text || '/'))"

    /// The consumer, or its slices in order: what the table has of it.
    package func idents(of consumer: ConsumerIdentity, on connection: Connection) async throws(PostgresError) -> [String] {
        let rows = try await connection.query(
            Statement("SELECT ident FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt)"), [.text(consumer.description)])
        return (0..<rows.count).compactMap { rows.string($0, 0) }
            .sorted { (ConsumerIdentity($0)?.component.slice?.index ?? 0) < (ConsumerIdentity($1)?.component.slice?.index ?? 0) }
    }

    /// Until the transaction ends nothing is discarded, and it is known what has been.
    func shareDiscardLock(on connection: Connection) async throws(PostgresError) {
        try await connection.query(Statement("SELECT pg_advisory_xact_lock_shared($1::bigint)"), [.int8(info.key(of: .discard))])
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

    /// The events of a slice that is missing would go to nobody.
    private func checkIsWhole(_ ident: String) throws(StoreError) {
        guard let consumer = ConsumerIdentity(ident), consumer.component.slice != nil else { return }
        throw StoreError("\(ident) is a slice: slices are registered, renamed and removed together; name \(consumer.whole)")
    }

    /// - Parameter evenIfServed: its receiver registers again, and begins with the oldest event that is not discarded.
    /// - Returns: false if there was no such consumer.
    /// - Throws: ``StoreError`` if it is served, or a slice.
    package func remove(_ ident: String, evenIfServed: Bool = false, on connection: Connection) async throws -> Bool {
        try checkIsWhole(ident)
        return try await connection.transaction {
            let removed = try await connection.query(
                Statement("DELETE FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt) AND \(mayChange("$2")) RETURNING id"),
                [.text(ident), .text("\(evenIfServed)")])
            // All of its slices, or none.
            guard try await position(of: ident, on: connection) == nil else {
                throw StoreError(
                    "\(ident) is at work: its receiver would register the consumer again, get events again, and miss events that are "
                        + "discarded meanwhile. Stop the receiver first; the session of a receiver that has died ends after "
                        + "EVT_SESSION_TIMEOUT")
            }
            // A statement of its own sees what was parked while the first one waited.
            try await connection.query(
                Statement("DELETE FROM \(info.tables.parked.sql) WHERE consumer = ANY ($1::bigint[])"),
                [.int8Array((0..<removed.count).compactMap { removed.int($0, 0) })])
            return removed.count > 0
        }
    }

    /// Gives a consumer's position to another name.
    ///
    /// - Parameter evenIfServed: its receiver loses the session, and registers the present name again.
    /// - Throws: ``StoreError`` if there is no such consumer, it is served, or the new name is taken.
    package func rename(
        _ ident: String, to new: ConsumerIdentity, evenIfServed: Bool = false, on connection: Connection
    ) async throws {
        try checkIsWhole(ident)
        try checkIsWhole(new.description)
        do {
            let renamed = try await connection.query(
                Statement(
                    """
                    UPDATE \(consumers) SET ident = $2, session_owner = NULL, session_epoch = session_epoch + 1, barrier = NULL
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
            Statement("UPDATE \(consumers) SET paused = $2::boolean WHERE \(ConsumerAdmin.isOfIt)"),
            [.text(ident), .text("\(isPaused)")])
        guard changed.affected > 0 else { throw StoreError("there is no consumer \(ident)") }
    }

    /// How often an event may fail before it is parked; 0 for never.
    ///
    /// - Parameter limit: nil for what the pusher is set to.
    /// - Throws: ``StoreError`` if there is no such consumer, or it is an archiver.
    package func set(_ ident: String, maxAttempts limit: Int?, on connection: Connection) async throws {
        if limit ?? 0 > 0, try await isArchiver(ident, on: connection) {
            throw StoreError("\(ident) is an archiver, which leaves no event out")
        }
        // The session begins anew: it knows the limit from its beginning.
        let changed = try await connection.query(
            Statement(
                """
                UPDATE \(consumers) SET max_attempts = $2::bigint, session_owner = NULL, session_epoch = session_epoch + 1
                WHERE \(ConsumerAdmin.isOfIt)
                """), [.text(ident), limit.map { .int8(Int64($0)) } ?? .null])
        guard changed.affected > 0 else { throw StoreError("there is no consumer \(ident)") }
    }

    /// Whether a consumer is an archiver: it has begun its work in a warehouse, or its archive was compared.
    package func isArchiver(_ ident: String, on connection: Connection) async throws -> Bool {
        if try await ArchiveTokens(info).hasAny(of: ident, on: connection) { return true }
        return try await connection.query(
            Statement("SELECT FROM \(consumers) WHERE ident = $1 AND verified_evt_id > 0"), [.text(ident)]
        ).count > 0
    }

    /// Where a consumer stands, of slices the one that is furthest behind; nil if there is no such consumer.
    package func position(of ident: String, on connection: Connection) async throws(PostgresError) -> EventID? {
        try await connection.query(
            Statement("SELECT min(last_evt_id) FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt)"), [.text(ident)]
        ).int(0, 0).map { EventID($0) }
    }

    /// Moves a position, in either direction, but never past what is settled.
    ///
    /// - Parameter archive: gives the events that are discarded; nil if none is set.
    /// - Throws: ``StoreError`` if there is no such consumer, or events after the position cannot be had.
    package func set(
        _ ident: String, to start: StartPosition, archive: ArchiveOnDemand? = nil, on connection: Connection
    ) async throws -> Placement {
        let starts = starts(archive)
        let position = try await starts.position(of: start, for: ident, on: connection)
        return try await connection.transaction {
            try await shareDiscardLock(on: connection)
            let discarded = try await starts.check(position, for: ident, on: connection)
            let wasServed = try await isServed(ident, on: connection)
            let moved = try await connection.query(
                Statement(
                    """
                    UPDATE \(consumers) SET last_evt_id = $2::bigint, session_owner = NULL, session_epoch = session_epoch + 1,
                        failed_evt_id = NULL, failed_attempts = 0, failed_error = NULL
                    WHERE \(ConsumerAdmin.isOfIt)
                    """), [.text(ident), .int8(position.rawValue)])
            guard moved.affected > 0 else { throw StoreError("there is no consumer \(ident)") }
            return Placement(position: position, discarded: discarded, wasServed: wasServed)
        }
    }

    /// Whether a pusher that is alive has a session for the consumer.
    package func isServed(_ ident: String, on connection: Connection) async throws -> Bool {
        // A pusher holds the advisory lock of its own id for as long as its connection lives.
        try await connection.query(
            Statement(
                """
                SELECT FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt) AND session_owner IS NOT NULL
                    AND NOT pg_try_advisory_xact_lock_shared(session_owner)
                """), [.text(ident)]
        ).count > 0
    }

    /// Moves the position of an archiver that nobody serves back, but not below what is discarded: that does not come again.
    ///
    /// - Returns: up to where events are discarded.
    /// - Throws: ``StoreError`` if there is no such consumer, or it is served.
    package func rewind(_ consumer: ConsumerIdentity, to position: EventID, on connection: Connection) async throws -> EventID {
        guard try await !isServed(consumer.description, on: connection) else {
            throw StoreError("\(consumer) is at work: stop it first")
        }
        return try await connection.transaction {
            try await shareDiscardLock(on: connection)
            let discarded = try await starts(nil).discarded(on: connection)
            let moved = try await connection.query(
                Statement(
                    """
                    UPDATE \(consumers) SET last_evt_id = LEAST(last_evt_id, $2::bigint), session_owner = NULL,
                        session_epoch = session_epoch + 1, failed_evt_id = NULL, failed_attempts = 0, failed_error = NULL
                    WHERE ident = $1
                    """), [.text(consumer.description), .int8(max(position, discarded).rawValue)])
            guard moved.affected == 1 else { throw StoreError("there is no consumer \(consumer)") }
            return discarded
        }
    }
}
