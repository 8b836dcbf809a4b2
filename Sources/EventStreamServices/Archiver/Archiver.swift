import EventLoop
import EventStore
public import EventStream
import EventStreamClient
public import Logging
import Postgres
public import ServiceLifecycle

/// Copies the stream into a warehouse: a reliable consumer whose position is stored with what it copies.
public struct Archiver: Service {
    public struct Configuration: Sendable {
        /// The warehouse: a libpq URI or keyword/value string.
        public var url: String
        public var tables: ArchiveTables
        /// The pusher, or several.
        public var connect: Endpoints
        public var component = ConsumerComponent.archiver
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

    public init(_ configuration: Configuration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    public func run() async throws {
        let (configuration, logger) = (configuration, logger)
        try await ServiceRunner.run { loop in
            let engine = ArchiverEngine(configuration, loop: loop, logger: logger)
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

    init(_ configuration: Archiver.Configuration, loop: EventLoop, logger: Logger) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        warehouse = Warehouse(configuration, loop: loop, logger: logger)
    }

    func run() async throws {
        guard let position = await warehouse.open() else { return logger.info("stopped") }
        logger.info("archiving", metadata: [.component: "\(configuration.component)", .position: "\(position)"])
        var receiving = ReceiverConfiguration(endpoints: configuration.connect.list, want: configuration.want)
        receiving.precise = true
        receiving.keepAlive = configuration.keepAlive
        receiving.processed = position
        receiving.batchLimit = configuration.transactionMax
        receiving.gathering = .milliseconds(5)
        let receiver = try ReliableReceiver(configuration.component.name, receiving, loop: loop)
        let log = Task { [logger] in await ArchiverEngine.report(receiver.signals, to: logger) }
        // The batch under way is finished and confirmed before the session ends.
        let stopper = Task {
            await ServiceRunner.untilShutdown()
            await receiver.stop()
        }
        for await batch in receiver.batches {
            guard await archive(batch) else { break }
        }
        // The last confirmation has arrived when the end of the session has been answered.
        stopper.cancel()
        await stopper.value
        log.cancel()
        warehouse.close()
        logger.info("stopped")
    }

    /// Tries until the warehouse has the events; false if told to stop before.
    private func archive(_ batch: EventBatch) async -> Bool {
        while true {
            do {
                let count = try await warehouse.append(batch.events)
                await batch.confirm()
                logger.debug("archived", metadata: [.events: "\(count)", .last: "\(batch.events.last?.id ?? .none)"])
                return true
            } catch {
                logger.error("not archived; trying again", metadata: [.error: "\(error)", .first: "\(batch.events[0].id)"])
                guard await warehouse.pause() else { return false }
            }
        }
    }

    private static func report(_ signals: AsyncStream<ReceiverSignal>, to logger: Logger) async {
        var last = ""
        for await signal in signals {
            switch signal {
            case .ready:
                logger.info("receiving")
                last = ""
            case .workerError(let error), .receiverError(let error):
                // The same trouble again and again is told once.
                guard error.description != last else { continue }
                last = error.description
                if error.name == "ConsumerBusy" {
                    logger.info("standing by: another archiver of this name is at work")
                } else {
                    logger.warning("not receiving; trying again", metadata: [.error: "\(error)"])
                }
            case .newEvents, .processedEvents: break
            }
        }
    }
}
