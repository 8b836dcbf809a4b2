package import EventStream
package import LibPQ

/// Finds the position at which a consumer is to begin, and says why the consumer cannot begin there.
///
/// What is discarded comes from the archive. So a position below the discarded events is one to begin at only if the archive has every
/// event after it.
package struct StartResolver {
    private let info: StreamInfo
    private let archive: ArchiveOnDemand?

    /// - Parameter archive: nil if none is set.
    package init(_ info: StreamInfo, _ archive: ArchiveOnDemand?) { (self.info, self.archive) = (info, archive) }

    /// The position of a start at this moment; whether a consumer may begin there is looked at already, before anybody waits for it.
    ///
    /// - Throws: ``StoreError`` if there is no such position, or nobody has the events after it.
    package func position(
        of start: StartPosition, for ident: String, on connection: Connection
    ) async throws -> EventID {
        let position: EventID
        switch start {
        case .first: position = .none
        case .now: position = try await settled(on: connection)
        case .after(let id):
            let settled = try await settled(on: connection)
            guard id <= settled else {
                throw StoreError("\(id) is beyond \(settled), the newest event that is certain to have none before it to come")
            }
            position = id
        case .since(let time): position = try await since(time, on: connection)
        }
        _ = try await check(position, for: ident, on: connection)
        return position
    }

    /// Checks that every event after a position can be had. With the lock that the discarder has for itself, that stays so.
    ///
    /// - Returns: up to where events are discarded.
    /// - Throws: ``StoreError`` with what can be done.
    package func check(_ position: EventID, for ident: String, on connection: Connection) async throws -> EventID {
        let (discarded, generation) = try await state(on: connection)
        guard position < discarded else { return discarded }
        guard try await !ConsumerAdmin(info).isArchiver(ident, on: connection) else {
            throw StoreError(
                "\(ident) is an archiver, and events up to \(discarded) are discarded: an archiver cannot get these events again. "
                    + "The least possible position is \(discarded)")
        }
        let reach = try await reach(of: generation, through: discarded, on: connection)
        guard position >= reach?.leastStart(discarded: discarded) ?? discarded else { throw refusal(reach, discarded) }
        return discarded
    }

    /// Up to where events are discarded.
    package func discarded(on connection: Connection) async throws -> EventID {
        try await state(on: connection).discarded
    }

    /// What an archive has of the discarded events; nil if none is set.
    package func reach(on connection: Connection) async throws -> ArchiveReach? {
        let (discarded, generation) = try await state(on: connection)
        return try await reach(of: generation, through: discarded, on: connection)
    }

    // MARK: What follows

    /// The events that follow a position.
    package struct Following: Hashable, Sendable {
        package let count: Int
        /// Whether there are more, which were not counted.
        package let areMore: Bool
        /// When the first was recorded; UTC, as an ISO 8601 text; nil if there is none.
        package let since: String?
        /// The newest one, at the least.
        package let last: EventID
    }

    /// No more than these are counted, in table and archive each.
    package static let countLimit = 100_000

    /// Counts what a consumer gets that begins at a position.
    ///
    /// - Parameter discarded: up to here events come from the archive.
    package func following(_ position: EventID, discarded: EventID, on connection: Connection) async throws -> Following {
        let limit = StartResolver.countLimit
        func parameters(_ after: EventID, _ through: EventID) -> [Parameter] {
            [.int8(after.rawValue), .int8(through.rawValue), .int8(Int64(limit + 1))]
        }
        let kept = try await connection.query(
            StartQueries.following(info.tables.events), parameters(max(position, discarded), EventID(.max)))
        var (archived, since): (Int64, String?) = (0, kept.string(0, 1))
        if position < discarded, let archive {
            let rows = try await archive.read(beside: connection) { store, other in
                try await other.query(StartQueries.following(store.tables.history), parameters(position, discarded))
            }
            archived = rows.int(0, 0) ?? 0
            since = rows.string(0, 1) ?? since
        }
        let newest = try await connection.query(
            Statement("SELECT id FROM \(info.tables.events.sql) WHERE id > $1::bigint ORDER BY id DESC LIMIT 1"),
            [.int8(max(position, discarded).rawValue)])
        let counts = [kept.int(0, 0) ?? 0, archived].map { Int($0) }
        return Following(
            count: counts.reduce(0) { $0 + min($1, limit) }, areMore: counts.contains { $0 > limit }, since: since,
            last: newest.int(0, 0).map { EventID($0) } ?? max(position, discarded))
    }

    /// Whether pushers are at work, and none of them has an archive to read.
    package func isUnread(on connection: Connection) async throws(PostgresError) -> Bool {
        let rows = try await connection.query(
            Statement(
                """
                SELECT count(*) > 0 AND NOT COALESCE(bool_or(reads_archive), false) FROM \(info.tables.pushers.sql) p
                WHERE EXISTS (SELECT FROM pg_locks l WHERE \(isAdvisoryLock("l", of: "p.id")))
                """))
        return rows.bool(0, 0) ?? false
    }

    // MARK: Looking

    private func settled(on connection: Connection) async throws(PostgresError) -> EventID {
        try await WriterQueries(info).settledFloor(on: connection)
    }

    private func state(on connection: Connection) async throws -> (discarded: EventID, generation: StreamGeneration) {
        let rows = try await connection.query(
            Statement("SELECT discarded, stream, generation, leap FROM \(info.tables.state.sql)"))
        try info.checkState(rows)
        return (
            EventID(rows.int(0, 0) ?? 0),
            StreamGeneration(
                stream: rows.string(0, 1) ?? "", id: rows.string(0, 2) ?? "", start: EventID(rows.int(0, 3) ?? 0))
        )
    }

    private func reach(
        of generation: StreamGeneration, through discarded: EventID, on connection: Connection
    ) async throws -> ArchiveReach? {
        try await archive?.read(beside: connection) { store, other in
            try await store.reach(of: generation, through: discarded, on: other)
        }
    }

    private func refusal(_ reach: ArchiveReach?, _ discarded: EventID) -> StoreError {
        guard let reach, let archive else {
            return StoreError(
                "events up to \(discarded) are discarded, so the least possible position is \(discarded). For an earlier position set "
                    + "EVT_ARCHIVE_URL to the archive that has these events")
        }
        return StoreError(
            "events up to \(discarded) are discarded, and the archive \(archive.name) cannot give all of these events: "
                + "\(reach.shortcoming(discarded: discarded)). The least possible position is \(reach.leastStart(discarded: discarded))"
        )
    }

    // MARK: Times

    /// The position before the first event, in the order of ids, that was recorded at a time or later; of a time to come, and where
    /// there is no such event, that of now.
    private func since(_ time: EventTimestamp, on connection: Connection) async throws -> EventID {
        // Looked at first: events that become visible later have greater ids.
        let settled = try await settled(on: connection)
        let ahead = try await connection.query(
            Statement("SELECT \(StartQueries.time) > clock_timestamp() AT TIME ZONE 'UTC'"), [.int8(time.postgres)])
        guard ahead.bool(0, 0) == false else { return settled }
        // The table before the archive: what is discarded between the two reads is found in the archive.
        let kept = try await connection.query(
            StartQueries.firstSince(info.tables.events), [.int8(time.postgres), .int8(settled.rawValue)])
        let archived = try await firstArchived(since: time, on: connection)
        guard let first = [kept.int(0, 0), archived?.rawValue].compactMap({ $0 }).min() else { return settled }
        return EventID(first - 1)
    }

    /// The first discarded event that was recorded at a time or later; nil if there is none.
    private func firstArchived(since time: EventTimestamp, on connection: Connection) async throws -> EventID? {
        let (discarded, generation) = try await state(on: connection)
        guard discarded > .none else { return nil }
        let reach = try await reach(of: generation, through: discarded, on: connection)
        guard let archive, case .events(let start, let end)? = reach, end >= discarded else {
            if try await areDiscardedOlder(than: time, on: connection) { return nil }
            throw refusal(reach, discarded)
        }
        return try await archive.read(beside: connection) { store, other in
            let found = try await other.query(
                StartQueries.firstSince(of: store.tables),
                [.int8(time.postgres), .int8(start.rawValue), .int8(discarded.rawValue)])
            // Events that the archive lacks may be of that time, too; not if the archive has an event of before.
            guard start == .none || found.bool(0, 1) == true else { throw refusal(reach, discarded) }
            return found.int(0, 0).map { EventID($0) }
        }
    }

    /// Whether each discarded event was there before a time, whatever time it was recorded with: the pushers note when the stream was
    /// settled up to which id.
    private func areDiscardedOlder(than time: EventTimestamp, on connection: Connection) async throws(PostgresError) -> Bool {
        let rows = try await connection.query(
            Statement(
                """
                SELECT m.at AT TIME ZONE 'UTC' < \(StartQueries.time) FROM \(info.tables.marks.sql) m, \(info.tables.state.sql) s
                WHERE m.id >= s.discarded ORDER BY m.id LIMIT 1
                """), [.int8(time.postgres)])
        return rows.bool(0, 0) ?? false
    }
}
