import EventStore
import EventStream
import EventStreamClient
import Logging
import Postgres
import ServiceLifecycle

/// What is done with events.
extension Warehouse {
    /// Copies what the warehouse does not have yet.
    ///
    /// - Parameters:
    ///   - origin: which stream the events are of, and what they follow.
    ///   - session: the one they came in.
    /// - Returns: how many events were new.
    func append(_ events: [Event], of origin: StreamOrigin?, in session: Int) async throws -> Int {
        guard let first = events.first?.id else { return 0 }
        return try await alone(in: session) { try await append(events, from: first, of: origin) }
    }

    private func append(_ events: [Event], from first: EventID, of origin: StreamOrigin?) async throws -> Int {
        var count = 0
        while true {
            let (connection, store, standing) = try held()
            if let origin, origin.generation != standing.generation {
                try await follow(origin, from: standing, store, on: connection)
            }
            if isComplete { return try await count + copy(events, of: origin, over: connection) }
            count += try await complete(before: first, of: origin)
            isComplete = connection.isOpen
        }
    }

    private func follow(
        _ origin: StreamOrigin, from standing: HistoryStore.Standing, _ store: HistoryStore, on connection: Connection
    ) async throws {
        let now = try await store.follow(origin, from: standing, on: connection)
        self.standing = now
        // Another archiver of this name may have done that already; and of a fail-over that lost nothing the pusher tells.
        guard now.hasDoubtful, now != standing else { return }
        logger.warning(
            """
            the active database went back, or may have: events after the position it has are compared with the archive; those it \
            lacks are set aside
            """,
            metadata: [
                .position: "\(now.position)", .last: "\(now.doubtful)", .generation: "\(origin.generation)",
                .lost: "\(store.tables.lost)",
            ])
    }

    private func copy(_ events: [Event], of origin: StreamOrigin?, over original: Connection) async throws -> Int {
        while true {
            let (connection, store, standing) = try held()
            guard connection === original else { throw Warehouse.connectionLost }
            guard origin == nil || origin?.generation == standing.generation else {
                throw StoreError("another archiver of this name follows another generation of the stream")
            }
            guard let first = events.first, let last = events.last else { return 0 }
            if checked.map({ .now - $0 > .seconds(1) }) ?? true {
                try await store.checkColumns(on: connection)
                let sizes = try await TableRewriting.sizes(of: [store.tables.positions], on: connection)
                upkeep.saw([store.tables.positions: sizes.first ?? 0])
                checked = .now
            }
            await makePartitions(for: [first.timestamp, last.timestamp], store, on: connection)
            switch try await append(events[...], store, standing, on: connection) {
            case .copied(let count, let lost):
                self.standing?.position = max(standing.position, last.id)
                self.standing?.doubtfulAfter = max(standing.doubtfulAfter, last.id)
                if lost > 0 {
                    logger.error(
                        "events that were archived are not in the active database any more; they were set aside",
                        metadata: [
                            .events: "\(lost)", .position: "\(standing.doubtfulAfter)",
                            .last: "\(min(last.id, standing.doubtful))",
                            .lost: "\(store.tables.lost)",
                        ])
                }
                backoff.reset()
                return count
            case .moved(let now):
                guard now.token == standing.token else {
                    lostPosition()
                    throw StoreError(
                        "the position of \(store.archiver) in \(store.tables.positions) has been taken over by another archiver")
                }
                // An archiver of before, or somebody who has set it back.
                moved(to: now)
            }
        }
    }

    /// Copies what the pusher does not send because it was confirmed, and the warehouse has not got nevertheless: it was
    /// restored, or replaced by one that lags. Asked once over every connection to it.
    private func complete(before first: EventID, of origin: StreamOrigin?) async throws -> Int {
        let (connection, store, _) = try held()
        guard let found = try await store.standing(on: connection) else { return 0 }
        moved(to: found)
        var failure: any Error = StoreError("there is no pusher to ask")
        // Not every pusher need read the same database.
        for endpoint in configuration.connect.list {
            let poller = try await PollClient([endpoint], keys: configuration.keys, loop: loop)
            do {
                let count = try await complete(before: first, of: origin, after: found.position, asking: poller, over: connection)
                await poller.close()
                return count
            } catch let error as EventStreamError {
                await poller.close()
                guard ![.securityError, .unauthorized].contains(error.code) else {
                    logger.notice(
                        "cannot ask whether the warehouse lacks earlier events: polling is not allowed",
                        metadata: [.error: "\(error)"])
                    return 0
                }
                failure = error
            } catch {
                await poller.close()
                throw error
            }
        }
        throw failure
    }

    private func complete(
        before first: EventID, of origin: StreamOrigin?, after position: EventID, asking poller: PollClient,
        over connection: Connection
    ) async throws -> Int {
        let (_, store, _) = try held()
        var (count, next, isMore) = (0, position, true)
        while isMore {
            // Half of it would be a hole.
            guard !Task.isShuttingDownGracefully else { throw CancellationError() }
            var missing: [Event] = []
            while isMore, missing.count < Warehouse.missingAtOnce {
                let answer = try await poller.pollEvents(
                    "LIVE", after: next, want: configuration.want.types?.map(\.description), precise: true,
                    generation: origin?.generation.generation)
                missing += answer.prefix { $0.id < first }
                next = answer.last?.id ?? next
                // Others must not take this one for frozen.
                try await store.ping(on: connection)
                isMore = answer.last.map { $0.id < first } ?? false
            }
            guard let oldest = missing.first?.id, let newest = missing.last?.id else { break }
            logger.warning(
                """
                the warehouse is behind what was confirmed for it: was it restored? What is still in the active table is archived \
                now; what was discarded since is not in this warehouse
                """,
                metadata: [.position: "\(position)", .first: "\(oldest)", .last: "\(newest)"])
            count += try await copy(missing, of: origin, over: connection)
        }
        return count
    }

    private static let missingAtOnce = 5000

    private func append(
        _ events: ArraySlice<Event>, _ store: HistoryStore, _ standing: HistoryStore.Standing, on connection: Connection
    ) async throws -> HistoryStore.Appended {
        // What has been archived before and comes again is compared, too: nothing else would show that it is another event.
        var comparing = standing.hasDoubtful || events.first.map { $0.id <= standing.position } ?? false
        if !comparing, let first = events.first?.id, let last = events.last?.id, let newest = standing.newest, first <= newest {
            comparing = try await store.holdsAny(standing.want, from: first, through: last, on: connection)
        }
        do {
            return try await store.append(events, from: standing, comparing: comparing, on: connection)
        } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
            // An archiver of before, which has no lock but its transaction.
            if let holder = try await holder(store, on: connection) {
                throw OtherArchiver(archiver: store.archiver, holder: holder)
            }
            throw error
        } catch let error as PostgresError where error.isOfRowSecurity {
            // A new connection finds out what is so, such as a policy that would hide rows.
            connection.close()
            throw error
        } catch let error as PostgresError {
            if let refused = try await store.refused(among: events, because: error, on: connection) { throw refused }
            throw error
        }
    }

    /// Once an hour, and for months not met before. Without partitions of their own events go into the default one.
    private func makePartitions(for times: [EventTimestamp], _ store: HistoryStore, on connection: Connection) async {
        let unseen = times.filter { !months.contains(String($0.description.prefix(7))) }
        let isDue = partitionsMade.map { .now - $0 > .seconds(3600) } ?? true
        guard isDue || !unseen.isEmpty else { return }
        if months.count > 1000 { months = [] }
        for time in unseen { months.insert(String(time.description.prefix(7))) }
        partitionsMade = .now
        do {
            let made = try await store.makePartitions(for: unseen, on: connection)
            if made > 0 { logger.info("made partitions of the history", metadata: [.partitions: "\(made)"]) }
        } catch {
            logger.warning(
                "no new partitions of the history; events go into the default one meanwhile", metadata: [.error: "\(error)"])
        }
    }
}
