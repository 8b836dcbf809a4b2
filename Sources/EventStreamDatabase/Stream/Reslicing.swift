package import EventStream
package import LibPQ

/// Cuts a consumer into another number of slices: no event is lost, none comes to two slices, and the order of each key is kept.
///
///     begin ─▶ stopping ─▶ delivering ─▶ over
///
/// First delivery is stopped. Every pusher that is there learns of it with a sign of life, and ends the sessions that do not know.
/// Then all that any session has sent lies up to the last id that was drawn: the barrier. Up to there the present slices are
/// delivered. Once all stand there, and none has parked events, one transaction replaces the rows.
///
/// The rows hold how far this has come: another command takes up what was interrupted.
package struct Reslicing: Sendable {
    /// What is waited for.
    package enum Progress: Hashable, Sendable {
        /// So many pushers, which may not know yet that delivery is stopped.
        case pushers(Int)
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
        case stopping([Int64: PusherWatch])
        /// - Parameter writers: those that may commit events up to the barrier.
        case delivering(through: EventID, writers: Set<TableWriter>)
    }

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

    /// Whether delivery may have been stopped.
    package var hasBegun: Bool { if case .begin = state { false } else { true } }

    /// Goes on as far as is possible now.
    ///
    /// - Throws: ``StoreError`` if there is no such consumer, it is an archiver, or it has this number of slices.
    package mutating func advance(on connection: Connection) async throws -> Progress {
        while true {
            switch state {
            case .begin: state = try await stop(on: connection)
            case .stopping(var pushers):
                try await look(at: &pushers, on: connection)
                state = .stopping(pushers)
                let unaware = pushers.values.count { !$0.knows(at: .now) }
                guard unaware == 0 else { return .pushers(unaware) }
                state = try await setBarrier(on: connection)
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

    /// How many slices the consumer has, by the name of one.
    private func number(of ident: String) -> Int { ConsumerIdentity(ident)?.component.slice?.count ?? 1 }

    private var name: Parameter { .text(consumer.description) }

    /// Nothing more is delivered from now on, by pushers that know of it.
    private func stop(on connection: Connection) async throws -> State {
        try await check(on: connection)
        let stopped = try await connection.query(
            Statement(
                "UPDATE \(consumers) SET barrier = COALESCE(barrier, 0) WHERE \(ConsumerAdmin.isOfIt) RETURNING barrier"), [name])
        // A command that was interrupted may have set the barrier.
        if stopped.int(0, 0) ?? 0 > 0 { return try await delivering(on: connection) }
        var pushers: [Int64: PusherWatch] = [:]
        try await look(at: &pushers, on: connection, adding: true)
        return .stopping(pushers)
    }

    /// - Parameter adding: whether those that come now count: who comes later knows from the beginning.
    private func look(
        at pushers: inout [Int64: PusherWatch], on connection: Connection, adding: Bool = false
    ) async throws {
        let rows = try await connection.query(
            Statement("SELECT id, beat, beat_interval FROM \(info.tables.pushers.sql)"))
        for row in 0..<rows.count {
            guard let id = rows.int(row, 0), let beat = rows.int(row, 1) else { continue }
            if adding { pushers[id] = PusherWatch(beat: beat, interval: .seconds(rows.double(row, 2)), at: .now) }
            pushers[id]?.saw(beat, at: .now)
        }
    }

    private func check(on connection: Connection) async throws {
        let present = try await admin.idents(of: consumer, on: connection)
        guard let first = present.first else { throw StoreError("there is no consumer \(consumer)") }
        guard number(of: first) != count else {
            throw StoreError("\(consumer) has \(count == 1 ? "no slices" : "\(count) slices") already")
        }
        guard present.count == number(of: first) else {
            throw StoreError("\(consumer) has \(present.count) of \(number(of: first)) slices: somebody has deleted rows")
        }
        guard try await WriterQueries(info).look(on: connection).drawn != nil else { throw noSequence }
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

    /// Sets the barrier: every pusher knows that nothing more is to be delivered.
    private func setBarrier(on connection: Connection) async throws -> State {
        try await connection.transaction {
            let rows = try await connection.query(
                Statement("SELECT barrier FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt) ORDER BY id FOR UPDATE"), [name])
            guard rows.count > 0, (0..<rows.count).allSatisfy({ rows.int($0, 0) != nil }) else { throw changed }
            // Another command was quicker.
            guard (0..<rows.count).allSatisfy({ rows.int($0, 0) == 0 }) else { return try await delivering(on: connection) }
            // What any session has sent was drawn before this look.
            let look = try await WriterQueries(info).look(on: connection)
            guard let drawn = look.drawn else { throw noSequence }
            let barrier = max(drawn, EventID(1))
            try await connection.query(
                Statement("UPDATE \(consumers) SET barrier = $2::bigint WHERE \(ConsumerAdmin.isOfIt)"),
                [name, .int8(barrier.rawValue)])
            return .delivering(through: barrier, writers: look.holders)
        }
    }

    private var changed: StoreError {
        StoreError("another command has changed \(consumer); look at `evt consumers list` and `evt status`")
    }
    private var noSequence: StoreError { StoreError("no permission to read the sequence of the ids") }

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
            guard let first = rows.string(0, 0), rows.count > 0 else { throw changed }
            if number(of: first) == count { return .done(EventID(rows.int(0, 1) ?? 0)) }
            guard rows.count == number(of: first), (0..<rows.count).allSatisfy({ rows.int($0, 2) == barrier.rawValue }) else {
                throw changed
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
    /// - Throws: ``StoreError`` if there is no such consumer, it is served, is an archiver, has this number of slices, or has parked
    ///   events.
    package func force(on connection: Connection) async throws -> EventID {
        try await check(on: connection)
        return try await connection.transaction {
            try await admin.shareDiscardLock(on: connection)
            try await connection.query(
                Statement("SELECT FROM \(consumers) WHERE \(ConsumerAdmin.isOfIt) ORDER BY id FOR UPDATE"), [name])
            guard try await !admin.isServed(consumer.description, on: connection) else {
                throw StoreError("\(consumer) is at work: stop its receivers first; the new slices would run beside them")
            }
            switch try await exchange(on: connection) {
            case .done(let position): return position
            case .parked(let idents):
                throw StoreError(
                    "\(idents.joined(separator: ", ")) has parked events: retry or drop them first (`evt parked list \(consumer)`)"
                )
            default: throw changed
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
        guard inserted.count == count else { throw changed }
        return .done(EventID(inserted.int(0, 0) ?? 0))
    }
}

/// What is known of a pusher since delivery was stopped.
package struct PusherWatch: Hashable, Sendable {
    /// After so many signs of life it has carried out what the database said before: the first may have begun earlier, the second
    /// shows what is so, and the third is given once that was carried out.
    package static let beats: Int64 = 3

    private let interval: Duration
    private var first: Int64
    private var last: Int64
    private var changed: ContinuousClock.Instant

    package init(beat: Int64, interval: Duration, at now: ContinuousClock.Instant) {
        (self.interval, first, last, changed) = (interval, beat, beat, now)
    }

    package mutating func saw(_ beat: Int64, at now: ContinuousClock.Instant) {
        guard beat != last else { return }
        // One that was forgotten, and has come again, counts from there.
        if beat < last { first = beat }
        (last, changed) = (beat, now)
    }

    /// Whether it has no session any more that does not know. A pusher whose signs of life do not reach the database ends its sessions
    /// after two and a half intervals.
    package func knows(at now: ContinuousClock.Instant) -> Bool {
        last - first >= PusherWatch.beats || now - changed > interval * 3 + .seconds(1)
    }
}
