package import EventStream
package import LibPQ

/// Cuts a consumer into another number of slices: no event is lost, none comes to two slices, and the order of each key is kept.
///
///     begin ─▶ stopping ─▶ delivering ─▶ over
///
/// First delivery is stopped: sessions that began before end. Once no session is left that does not know, all that any of them has
/// sent lies up to the last id that was drawn: the barrier. Up to there the present slices are delivered. Once all stand there, and
/// none has parked events, one transaction replaces the rows.
///
/// The rows hold how far this has come: another command takes up what was interrupted.
package struct Reslicing: Sendable {
    /// What is waited for.
    package enum Progress: Hashable, Sendable {
        /// Sessions that do not know yet that delivery is stopped.
        case sessions([String])
        /// Slices that are not at the barrier, and whether they have a session.
        case slices([Slice], barrier: EventID)
        /// Transactions that may still commit events up to the barrier.
        case writers(Set<TableWriter>)
        /// Slices with parked events.
        case parked([String])
        /// The slices are replaced, at this position.
        case done(EventID)
    }

    package struct Slice: Hashable, Sendable {
        package let ident: String
        package let position: EventID
        package let isServed: Bool
    }

    private enum State {
        case begin
        case stopping
        /// - Parameter writers: those that may commit events up to the barrier.
        case delivering(through: EventID, writers: Set<TableWriter>)
    }

    /// Whose sessions do not know that delivery is stopped.
    private struct Unaware: Error { let idents: [String] }

    private let admin: ConsumerAdmin
    private let consumer: ConsumerIdentity
    private let count: Int
    private var state = State.begin
    private var info: StreamInfo { admin.info }
    private var consumers: String { info.tables.consumers.sql }

    /// - Parameter count: how many slices the consumer is to have; 1 for none.
    package init(_ consumer: ConsumerIdentity, into count: Int, by admin: ConsumerAdmin) {
        (self.consumer, self.count, self.admin) = (consumer, count, admin)
    }

    /// Goes on as far as is possible now.
    ///
    /// - Throws: ``StoreError`` if there is no such consumer, it is an archiver, or it has this number of slices.
    package mutating func advance(on connection: Connection) async throws -> Progress {
        while true {
            switch state {
            case .begin: state = try await stop(on: connection)
            case .stopping:
                switch try await setBarrier(on: connection) {
                case .success(let delivering): state = delivering
                case .failure(let unaware): return .sessions(unaware.idents)
                }
            case .delivering(let barrier, let writers):
                // Writers first, then what is visible.
                let left = try await writers.isEmpty ? [] : stillOpen(writers, on: connection)
                state = .delivering(through: barrier, writers: left)
                return try await replace(at: barrier, left, on: connection)
            }
        }
    }

    /// The consumer goes on with the slices it has.
    package func cancel(on connection: Connection) async throws {
        let changed = try await connection.query(
            Statement(
                """
                UPDATE \(consumers) SET barrier = NULL, session_owner = NULL, session_epoch = session_epoch + 1
                WHERE \(ConsumerAdmin.isOfIt) AND barrier IS NOT NULL
                """), [name])
        guard changed.affected > 0 else { throw StoreError("\(consumer) is not being cut into other slices") }
    }

    private var name: Parameter { .text(consumer.description) }

    /// Nothing more is delivered from now on, in sessions that know of it.
    private func stop(on connection: Connection) async throws -> State {
        try await check(on: connection)
        let stopped = try await connection.query(
            Statement(
                """
                UPDATE \(consumers) SET barrier = COALESCE(barrier, 0), barrier_read = barrier_read AND barrier IS NOT NULL
                WHERE \(ConsumerAdmin.isOfIt) RETURNING barrier
                """), [name])
        // A command that was interrupted may have set the barrier.
        return stopped.int(0, 0) ?? 0 > 0 ? try await delivering(on: connection) : .stopping
    }

    private func check(on connection: Connection) async throws {
        let present = try await admin.idents(of: consumer, on: connection)
        guard !present.isEmpty else { throw StoreError("there is no consumer \(consumer)") }
        guard present.count != count else {
            throw StoreError("\(consumer) has \(count == 1 ? "no slices" : "\(count) slices") already")
        }
        guard try await !admin.isArchiver(consumer.description, on: connection) else {
            throw StoreError("\(consumer) is an archiver, which has no slices")
        }
    }

    /// A command has set the barrier before.
    private func delivering(on connection: Connection) async throws -> State {
        let found = try await connection.query(
            Statement("SELECT min(barrier) FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt)"), [name])
        return .delivering(
            through: EventID(found.int(0, 0) ?? 0), writers: try await WriterQueries(info).look(on: connection).holders)
    }

    /// Sets the barrier, if every session that may deliver knows that nothing more is to be delivered.
    ///
    /// - Returns: whose sessions do not know, else.
    private func setBarrier(on connection: Connection) async throws -> Result<State, Unaware> {
        try await connection.transaction {
            // A session that no pusher has any more might be resumed: the lock of its pusher is held until that is not possible.
            let rows = try await connection.query(
                Statement(
                    """
                    SELECT ident, barrier, barrier_read, session_owner IS NULL OR pg_try_advisory_xact_lock_shared(session_owner)
                    FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt) FOR UPDATE
                    """), [name])
            guard rows.count > 0, (0..<rows.count).allSatisfy({ rows.int($0, 1) != nil }) else {
                throw StoreError("\(consumer) was changed by another command: delivery goes on as before")
            }
            // Another command was quicker.
            guard (0..<rows.count).allSatisfy({ rows.int($0, 1) == 0 }) else {
                return .success(try await delivering(on: connection))
            }
            let unaware = (0..<rows.count).filter { rows.bool($0, 3) != true && rows.bool($0, 2) != true }
            guard unaware.isEmpty else { return .failure(Unaware(idents: unaware.compactMap { rows.string($0, 0) })) }
            // What any session has sent was drawn before this look.
            let look = try await WriterQueries(info).look(on: connection)
            guard let drawn = look.drawn else { throw StoreError("no permission to read the sequence of the ids") }
            let barrier = max(drawn, EventID(1))
            try await connection.query(
                Statement(
                    """
                    UPDATE \(consumers) SET barrier = $2::bigint,
                        session_epoch = session_epoch + CASE WHEN ident = ANY ($3::text[]) THEN 1 ELSE 0 END,
                        session_owner = CASE WHEN ident = ANY ($3::text[]) THEN NULL ELSE session_owner END
                    WHERE \(ConsumerAdmin.isOfIt)
                    """),
                [
                    name, .int8(barrier.rawValue),
                    .strings((0..<rows.count).filter { rows.bool($0, 3) == true }.compactMap { rows.string($0, 0) }),
                ])
            return .success(.delivering(through: barrier, writers: look.holders))
        }
    }

    private func stillOpen(_ writers: Set<TableWriter>, on connection: Connection) async throws -> Set<TableWriter> {
        try await WriterQueries(info).look(on: connection).holders.filter { writers.contains($0) || $0.mayBeRenamed }
    }

    private func replace(
        at barrier: EventID, _ writers: Set<TableWriter>, on connection: Connection
    ) async throws -> Progress {
        try await connection.transaction {
            try await admin.shareDiscardLock(on: connection)
            let rows = try await connection.query(
                Statement(
                    """
                    SELECT ident, last_evt_id, barrier,
                        session_owner IS NOT NULL AND NOT pg_try_advisory_xact_lock_shared(session_owner)
                    FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt) ORDER BY id FOR UPDATE
                    """), [name])
            if rows.count == count { return .done(EventID(rows.int(0, 1) ?? 0)) }
            guard rows.count > 0, (0..<rows.count).allSatisfy({ rows.int($0, 2) == barrier.rawValue }) else {
                throw StoreError("\(consumer) was changed by another command: delivery goes on as before")
            }
            // Where nobody writes up to the barrier any more, the newest event before it is as good.
            let end = writers.isEmpty ? try await newest(through: barrier, on: connection) : barrier
            let slices = (0..<rows.count).map {
                Slice(
                    ident: rows.string($0, 0) ?? "", position: EventID(rows.int($0, 1) ?? 0), isServed: rows.bool($0, 3) == true)
            }
            let behind = slices.filter { $0.position < end }
            guard behind.isEmpty else {
                return !writers.isEmpty && behind.allSatisfy(\.isServed) ? .writers(writers) : .slices(behind, barrier: barrier)
            }
            return try await exchange(on: connection)
        }
    }

    /// The newest event up to the barrier, discarded or not.
    private func newest(through barrier: EventID, on connection: Connection) async throws -> EventID {
        let found = try await connection.query(
            Statement(
                """
                SELECT GREATEST(LEAST(discarded, $1::bigint),
                    COALESCE((SELECT max(id) FROM \(info.tables.events.sql) WHERE id <= $1::bigint), 0))
                FROM \(info.tables.state.sql)
                """), [.int8(barrier.rawValue)])
        return EventID(found.int(0, 0) ?? 0)
    }

    /// Replaces the slices at once, at the least position of any: events after it that other slices have processed come again.
    ///
    /// - Throws: ``StoreError`` if there is no such consumer, it is an archiver, has this number of slices, or has parked events.
    package func force(on connection: Connection) async throws -> EventID {
        try await check(on: connection)
        return try await connection.transaction {
            try await admin.shareDiscardLock(on: connection)
            try await connection.query(
                Statement("SELECT FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt) FOR UPDATE"), [name])
            switch try await exchange(on: connection) {
            case .done(let position): return position
            case .parked(let idents):
                throw StoreError(
                    "\(idents.joined(separator: ", ")) has parked events: retry or drop them first (`evt parked list \(consumer)`)"
                )
            default: throw StoreError("\(consumer) was changed by another command")
            }
        }
    }

    /// Replaces the rows, which are locked, by those of the new slices.
    private func exchange(on connection: Connection) async throws -> Progress {
        // A statement of its own sees what was parked before the rows were locked.
        let parked = try await connection.query(
            Statement(
                """
                SELECT ident FROM \(consumers) c WHERE \(ConsumerAdmin.isOfIt)
                    AND EXISTS (SELECT FROM \(info.tables.parked.sql) p WHERE p.consumer = c.id) ORDER BY id
                """), [name])
        guard parked.count == 0 else { return .parked((0..<parked.count).compactMap { parked.string($0, 0) }) }
        try await connection.query("SET LOCAL eventstream.position = 'given'")
        let idents = count == 1 ? [consumer] : consumer.slices(count)
        // The epoch: a session of a slice that had the same name once must not be taken for one of this slice.
        let inserted = try await connection.query(
            Statement(
                """
                WITH old AS (DELETE FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt) RETURNING *),
                common AS (
                    SELECT min(last_evt_id) AS position, min(reg_time) AS reg_time, max(last_time) AS last_time,
                        max(session_epoch) + 1 AS epoch, min(began_evt_id) AS began, bool_or(paused) AS paused,
                        bool_and(takes_parked) AS takes_parked
                    FROM old)
                INSERT INTO \(consumers) (ident, last_evt_id, reg_time, last_time, session_epoch, began_evt_id, paused, takes_parked,
                    want, max_lag_events, max_lag_time, max_attempts)
                SELECT i, position, c.reg_time, c.last_time, epoch, began, c.paused, c.takes_parked,
                    one.want, one.max_lag_events, one.max_lag_time, one.max_attempts
                FROM common c CROSS JOIN (SELECT * FROM old ORDER BY id LIMIT 1) one CROSS JOIN unnest($2::text[]) i
                RETURNING last_evt_id
                """), [name, .strings(idents.map(\.description))])
        return .done(EventID(inserted.int(0, 0) ?? 0))
    }
}
