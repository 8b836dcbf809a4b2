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
        public var url: String { didSet { file = nil } }
        /// The file the URL was in: what it holds now counts for new connections.
        var file: ConnectionFile?
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
            } serves: { [weak engine] in
                engine?.served
            } collect: { [weak engine] completion in
                if let engine { engine.collect(completion) } else { completion() }
            }
            defer { monitor.detach() }
            try await engine.run()
        }
    }
}
