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
            let comparing = standing.newest.map { first.id <= $0 } ?? false
            let outcome = try await store.append(new, after: standing.position, comparing: comparing, on: connection)
            switch outcome {
            case .copied(let count):
                self.standing?.position = last.id
                backoff.reset()
                return count
            // Another archiver of this name was at work; it may have got as far, or not.
            case .moved(let position): try moved(to: position)
            }
        }
    }

    private func moved(to position: EventID) throws {
        guard let known = standing?.position, position < known else {
            standing?.position = position
            return
        }
        throw StoreError(
            "the position of \(identity) in the warehouse went back from \(known) to \(position): the warehouse was restored, or "
                + "its position set back; stop all archivers of this name, run `evt archive rewind \(position)`, start them again")
    }

    func close() { connection?.close() }

    private func connected() async throws -> (Connection, HistoryStore, HistoryStore.Standing) {
        if let connection, let store, let standing, connection.isOpen { return (connection, store, standing) }
        let connection = try await Connection.open(
            ConnectionOptions(configuration.url, applicationName: "evt-archiver", settings: Warehouse.settings), on: loop)
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

    /// A database may have another default for what it is isolated from; what is copied here conflicts with nobody.
    private static let settings = ["default_transaction_isolation": "read committed"]

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
