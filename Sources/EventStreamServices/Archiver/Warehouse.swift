import EventLoop
import EventStore
import EventStream
import EventStreamClient
import Logging
import Postgres
import ServiceLifecycle

/// The archiver's connection to the warehouse, made anew after a failure, and how far it has come there.
final class Warehouse {
    private let configuration: Archiver.Configuration
    private let identity: ConsumerIdentity
    private let loop: EventLoop
    private let logger: Logger
    private var connection: Connection?
    private var store: HistoryStore?
    private var standing: HistoryStore.Standing?
    /// Whether nothing is missing before what the pusher sends, as far as it can know.
    private var isComplete = false
    private var backoff = Backoff()
    /// Months, as `2026-11`, whose partitions have been seen to.
    private var months: Set<String> = []
    private var partitionsMade: ContinuousClock.Instant?

    init(_ configuration: Archiver.Configuration, loop: EventLoop, logger: Logger) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        identity = ConsumerIdentity(component: configuration.component)
    }

    /// Connects until it succeeds; nil if told to stop before.
    func open() async -> EventID? {
        while true {
            do {
                let (_, _, standing) = try await connected()
                return standing.position
            } catch {
                logger.warning("no warehouse; trying again", metadata: [.error: "\(error)"])
                guard await pause() else { return nil }
            }
        }
    }

    /// Copies what the warehouse does not have yet.
    ///
    /// - Returns: how many events were new.
    func append(_ events: [Event]) async throws -> Int {
        guard let first = events.first?.id else { return 0 }
        var count = 0
        while true {
            let (connection, _, _) = try await connected()
            if isComplete { return try await count + copy(events, over: connection) }
            count += try await complete(before: first)
            isComplete = connection.isOpen
        }
    }

    private func copy(_ events: [Event], over original: Connection) async throws -> Int {
        while true {
            let (connection, store, standing) = try await connected()
            guard connection === original else { throw StoreError("the connection to the warehouse was lost") }
            let new = events.drop { $0.id <= standing.position }
            guard let first = new.first, let last = new.last else { return 0 }
            await makePartitions(for: [first.timestamp, last.timestamp], store, on: connection)
            switch try await append(new, store, standing, on: connection) {
            case .copied(let count):
                self.standing?.position = last.id
                backoff.reset()
                return count
            // Another archiver of this name has been at work.
            case .moved(let position): self.standing?.position = position
            }
        }
    }

    /// Copies what the pusher does not send because it was confirmed, and the warehouse has not got nevertheless: it was
    /// restored, or replaced by one that lags. Asked once over every connection to it.
    private func complete(before first: EventID) async throws -> Int {
        let (connection, store, _) = try await connected()
        guard let found = try await store.standing(on: connection) else { return 0 }
        standing?.position = found.position
        let poller = try await PollClient(configuration.connect.list, loop: loop)
        do {
            let count = try await complete(before: first, after: found.position, asking: poller, over: connection)
            await poller.close()
            return count
        } catch let error as FutoInError where ["SecurityError", "Unauthorized"].contains(error.name) {
            logger.notice(
                "cannot ask whether the warehouse lacks earlier events: polling is not allowed", metadata: [.error: "\(error)"])
            await poller.close()
            return 0
        } catch {
            await poller.close()
            throw error
        }
    }

    private func complete(before first: EventID, after position: EventID, asking poller: PollClient, over connection: Connection)
        async throws -> Int
    {
        var (count, next, isMore) = (0, position, true)
        while isMore, !Task.isShuttingDownGracefully {
            var missing: [Event] = []
            while isMore, missing.count < Warehouse.missingAtOnce {
                let answer = try await poller.pollEvents(
                    "LIVE", after: next, want: configuration.want.types?.map(\.description), precise: true)
                missing += answer.prefix { $0.id < first }
                next = answer.last?.id ?? next
                isMore = answer.last.map { $0.id < first } ?? false
            }
            guard let oldest = missing.first?.id, let newest = missing.last?.id else { break }
            logger.warning(
                """
                the warehouse is behind what was confirmed for it: was it restored? What is still in the active table is archived \
                now; what was discarded since is not in this warehouse
                """,
                metadata: [.position: "\(position)", .first: "\(oldest)", .last: "\(newest)"])
            count += try await copy(missing, over: connection)
        }
        return count
    }

    private static let missingAtOnce = 5000

    private func append(
        _ events: ArraySlice<Event>, _ store: HistoryStore, _ standing: HistoryStore.Standing, on connection: Connection
    ) async throws -> HistoryStore.Appended {
        do {
            var comparing = false
            if let first = events.first?.id, let last = events.last?.id, let newest = standing.newest, first <= newest {
                comparing = try await store.holdsAny(standing.want, from: first, through: last, on: connection)
            }
            return try await store.append(
                events, standing.want, after: standing.position, comparing: comparing, on: connection)
        } catch let error as PostgresError where error.sqlState == "55P03" {
            // The session is ours: the other has not given a sign of life for three times as long as it should.
            try? await store.endSilentHolder(silentFor: configuration.keepAlive * 3, on: connection)
            throw error
        }
    }

    func close() { connection?.close() }

    private func connected() async throws -> (Connection, HistoryStore, HistoryStore.Standing) {
        if let connection, let store, let standing, connection.isOpen { return (connection, store, standing) }
        let connection = try await Connection.open(
            ConnectionOptions(configuration.url, applicationName: "evt-archiver", settings: settings), on: loop)
        do {
            let store = try await HistoryStore.load(configuration.tables, archiver: identity, from: connection)
            let found = try await store.begin(configuration.want, on: connection)
            (months, partitionsMade, isComplete) = ([], nil, false)
            (self.connection, self.store, standing) = (connection, store, found)
            return (connection, store, found)
        } catch {
            connection.close()
            throw error
        }
    }

    private var settings: [String: String] {
        [
            // A database may have another default; what is copied here conflicts with nobody.
            "default_transaction_isolation": "read committed",
            // Another archiver of this name, frozen in its transaction, must not keep this one waiting; nor this one others.
            "lock_timeout": "2s",
            "idle_in_transaction_session_timeout": "\(Int64(configuration.keepAlive * 3 / .milliseconds(1)))",
        ]
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
            if made > 0 { logger.info("made partitions of the history", metadata: ["partitions": "\(made)"]) }
        } catch {
            logger.warning(
                "no new partitions of the history; events go into the default one meanwhile", metadata: [.error: "\(error)"])
        }
    }

    /// Waits a growing while; false if told to stop.
    func pause() async -> Bool {
        let pause = backoff.next()
        do {
            try await cancelWhenGracefulShutdown { try await Task.sleep(for: pause) }
            return true
        } catch {
            return false
        }
    }
}
