import EventLoop
import EventStore
public import EventStream
public import EventStreamClient
public import Logging
import Postgres
public import ServiceLifecycle

/// Copies the stream into a warehouse: a reliable consumer whose position is stored with what it copies.
public struct Archiver: Service, Monitored {
    public struct Configuration: Sendable {
        /// The warehouse: a libpq URI or keyword/value string.
        public var url: String
        public var tables: ArchiveTables
        /// The pusher, or several.
        public var connect: Endpoints
        /// For a pusher that has keys.
        public var keys: ClientKeys?
        /// Its name as a consumer: with keys the user is as the pusher's authorized keys call it.
        public var consumer = ConsumerIdentity(component: .archiver)
        public var want = EventFilter.all
        /// Events one transaction in the warehouse may have; groups that wait are merged up to this.
        public var transactionMax = 10_000
        /// How often the pusher gets a sign of life; at most a third of its session timeout.
        public var keepAlive = Duration.seconds(5)

        public init(url: String, tables: ArchiveTables = .standard, connect: Endpoints) {
            self.url = url
            self.tables = tables
            self.connect = connect
        }
    }

    private let configuration: Configuration
    private let logger: Logger
    private let monitor = RoleMonitor(.archiver)
    public var monitors: [RoleMonitor] { [monitor] }

    public init(_ configuration: Configuration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    public func run() async throws {
        let (configuration, logger, monitor) = (configuration, logger, monitor)
        try await ServiceRunner.run { loop in
            let engine = ArchiverEngine(configuration, loop: loop, logger: logger)
            monitor.attach(loop) { [weak engine] in
                engine?.readiness ?? .stopping
            } collect: { [weak engine] completion in
                if let engine { engine.collect(completion) } else { completion() }
            }
            defer { monitor.detach() }
            try await engine.run()
        }
    }
}

/// The archiver's work, on its loop's thread.
final class ArchiverEngine {
    private let configuration: Archiver.Configuration
    private let loop: EventLoop
    private let logger: Logger
    private let warehouse: Warehouse
    private var trouble = TroubleLog()
    private var progress = Progress()
    private var receiver: ReliableReceiver?
    /// Whether the pusher has accepted the session; and what it said if it has not.
    private let session = Latest(Readiness.notReady(because: "no pusher has been reached yet"))
    private let events = Metric.archiverEvents.counter()
    private let commits = Metric.archiverCommit.durations()
    private let lag = Metric.archiverLag.gauge()

    init(_ configuration: Archiver.Configuration, loop: EventLoop, logger: Logger) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        warehouse = Warehouse(configuration, loop: loop, logger: logger)
    }

    /// Asks the pusher how far behind it is; where it is not known it is not a number.
    func collect(_ completion: @escaping () -> Void) {
        guard let receiver, session.value.isReady else {
            lag.set(Double.nan)
            return completion()
        }
        let (lag, completion) = (lag, Unchecked(completion))
        Task {
            let found = try? await receiver.lag(timeout: .seconds(5))
            lag.set(found.map { Double($0.events) } ?? .nan)
            completion.value()
        }
    }

    var readiness: Readiness {
        if let trouble = warehouse.trouble ?? progress.trouble("a batch waits for the warehouse") {
            return .notReady(because: trouble)
        }
        if session.value.isReady, !warehouse.isConnected {
            return .ready("idle; the connection to the warehouse has ended, and is made again for the next event")
        }
        return session.value
    }

    func run() async throws {
        guard let position = await warehouse.open() else { return logger.info("stopped") }
        _ = trouble.isGoodNews()
        logger.info("archiving", metadata: [.consumer: "\(configuration.consumer)", .position: "\(position)"])
        var receiving = ReceiverConfiguration(endpoints: configuration.connect.list, want: configuration.want)
        receiving.keys = configuration.keys
        receiving.precise = true
        receiving.keepAlive = configuration.keepAlive
        receiving.sessionTimeout = configuration.keepAlive * 3
        receiving.batchLimit = configuration.transactionMax
        receiving.gathering = .milliseconds(5)
        let receiver = try ReliableReceiver(configuration.consumer.component.name, receiving, loop: loop)
        self.receiver = receiver
        defer { self.receiver = nil }
        let log = Task { [logger, session] in await ArchiverEngine.report(receiver.signals, to: logger, noting: session) }
        // The batch under way is finished and confirmed before the session ends.
        let stopper = Task {
            await ServiceRunner.untilShutdown()
            await receiver.stop()
        }
        for await batch in receiver.batches {
            guard await archive(batch, from: receiver) else { break }
        }
        // The last confirmation has arrived when the end of the session has been answered.
        stopper.cancel()
        await stopper.value
        log.cancel()
        warehouse.close()
        logger.info("stopped")
    }

    /// Tries until the warehouse has the events; false if told to stop before.
    private func archive(_ batch: EventBatch, from receiver: ReliableReceiver) async -> Bool {
        while true {
            do {
                progress.waits()
                let begun = MonotonicTime.now
                let count = try await warehouse.append(batch.events, of: batch.origin)
                commits.record(.now - begun)
                events.add(count)
                progress.moved(more: false)
                await batch.confirm()
                if trouble.isGoodNews() { logger.info("archiving again") }
                logger.debug("archived", metadata: [.events: "\(count)", .last: "\(batch.events.last?.id ?? .none)"])
                return true
            } catch let error as HistoryStore.PastGeneration {
                if trouble.isNews("\(error)") {
                    logger.error("not archived; trying the next pusher", metadata: [.error: "\(error)"])
                }
                await batch.reject(because: "\(error)")
                await receiver.moveOn(because: "\(error)")
                return await warehouse.pause()
            } catch is CancellationError {
                return false
            } catch {
                progress.failed("events from \(batch.events[0].id) on are not archived: \(error)")
                if trouble.isNews("\(error)") {
                    logger.error(
                        "not archived; trying again\(ArchiverEngine.advice(for: error))",
                        metadata: [.error: "\(error)", .first: "\(batch.events[0].id)"])
                }
                guard await warehouse.pause() else { return false }
                // What is of a generation that ended meanwhile nobody can complete any more; the present one has it again.
                guard await batch.isPresent else {
                    await batch.reject(because: "the generation is over")
                    return true
                }
            }
        }
    }

    /// What is to be done, where the server's own words do not say it.
    private static func advice(for error: any Error) -> String {
        guard let state = (error as? PostgresError)?.sqlState else { return "" }
        if state == "42501" { return ": GRANT what the README lists to the archiver's role" }
        let isAltered = ["22", "23", "42"].contains(String(state.prefix(2)))
        return isAltered ? ": the history is not as `evt migrate` made it; put it right" : ""
    }

    private static func report(
        _ signals: AsyncStream<ReceiverSignal>, to logger: Logger, noting session: Latest<Readiness>
    ) async {
        var trouble = TroubleLog()
        for await signal in signals {
            switch signal {
            case .ready:
                session.set(.ready("archiving"))
                if trouble.isGoodNews() { logger.info("receiving") }
            case .workerError(let error), .receiverError(let error):
                let isBusy = error.name == "ConsumerBusy"
                session.set(
                    isBusy ? .ready("standing by: another archiver of this name is at work") : .notReady(because: "\(error)"))
                guard trouble.isNews(error.description) else { continue }
                if isBusy {
                    logger.info("standing by: another archiver of this name is at work")
                } else {
                    logger.warning("not receiving; trying again", metadata: [.error: "\(error)"])
                }
            case .newEvents, .processedEvents, .newGeneration: break
            }
        }
    }
}
