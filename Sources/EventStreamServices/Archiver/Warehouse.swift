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
        while true {
            let (connection, store, standing) = try await connected()
            let new = events.drop { $0.id <= standing.position }
            guard let first = new.first, let last = new.last else { return 0 }
            await makePartitions(for: [first.timestamp, last.timestamp], store, on: connection)
            switch try await append(new, store, standing, on: connection) {
            case .copied(let count):
                self.standing?.position = last.id
                backoff.reset()
                return count
            // Another archiver of this name was at work; it may have got as far, or not.
            case .moved(let position): try moved(to: position)
            }
        }
    }

    private func append(
        _ events: ArraySlice<Event>, _ store: HistoryStore, _ standing: HistoryStore.Standing, on connection: Connection
    ) async throws -> HistoryStore.Appended {
        let comparing = standing.newest.map { events[events.startIndex].id <= $0 } ?? false
        do {
            return try await store.append(events, after: standing.position, comparing: comparing, on: connection)
        } catch let error as PostgresError where error.sqlState == "55P03" {
            // The session is ours: the other has not given a sign of life for three times as long as it should.
            try? await store.endSilentHolder(silentFor: configuration.keepAlive * 3, on: connection)
            throw error
        }
    }

    private func moved(to position: EventID) throws {
        guard let known = standing?.position, position < known else {
            standing?.position = position
            return
        }
        throw StoreError(
            "the position of \(identity) in the warehouse went back from \(known) to \(position): the warehouse was restored, or "
                + "its position set back; stop all archivers of this name, run `evt archive rewind \(position)`, start them again"
        )
    }

    func close() { connection?.close() }

    private func connected() async throws -> (Connection, HistoryStore, HistoryStore.Standing) {
        if let connection, let store, let standing, connection.isOpen { return (connection, store, standing) }
        let connection = try await Connection.open(
            ConnectionOptions(configuration.url, applicationName: "evt-archiver", settings: settings), on: loop)
        do {
            let store = try await HistoryStore.load(configuration.tables, archiver: identity, from: connection)
            let found = try await store.begin(configuration.want, on: connection)
            try moved(to: found.position)
            (months, partitionsMade) = ([], nil)
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

    /// Once a day, and for months not met before. Without partitions of their own events go into the default one.
    private func makePartitions(for times: [EventTimestamp], _ store: HistoryStore, on connection: Connection) async {
        let unseen = times.filter { !months.contains(String($0.description.prefix(7))) }
        let isDue = partitionsMade.map { .now - $0 > .seconds(86_400) } ?? true
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
