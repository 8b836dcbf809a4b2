import EventLoop
public import EventStream
public import Logging
public import ServiceLifecycle

/// The `futoin.evt.push` and `futoin.evt.poll` service, and the live broadcast.
///
/// Every event is read once and encoded once, whoever gets it. Any number of pushers may work on one database.
public struct Pusher: Service, Reloadable, Monitored {
    public struct Configuration: Sendable {
        public var database: DatabaseConfiguration
        /// Where receivers and pollers connect; none turns the service off.
        public var bind: Endpoints
        /// Where plain subscribers connect; none turns the broadcast off.
        public var liveBind: Endpoints
        /// Whether consumers may register and be served reliably.
        public var allowReliable = true
        /// Whether pollEvents may be called.
        public var allowPolling = true
        /// Events in an answer to pollEvents at most; 1 to 1000.
        public var maxChunkEvents = 100
        /// How a group is cut; at most 1000 events and 8 MiB.
        public var groupLimits = GroupLimits(events: 1000, bytes: 512 << 10)
        public var delivery = ConsumerDelivery.Configuration()
        /// Events that may wait for a live receiver before the oldest are dropped.
        public var queueMax = 10_000
        /// How long a session lives without a word from its peer.
        public var sessionTimeout = Duration.seconds(15)
        /// When the head of the stream is read.
        public var head = HeadReader.Configuration()
        /// Bytes a request may have.
        public var maxRequestBytes = 65_536
        /// Bytes of events kept for the consumers at the head.
        public var windowBytes = 32 << 20
        /// Bytes of groups and answers that may wait to be sent, all peers together; as many more for the live broadcast.
        public var sendBytes = 16 << 20
        /// How long a stop waits for the groups in flight to be answered.
        public var drainTimeout = Duration.seconds(2)
        /// Who decides that a database on another timeline is the home of the stream.
        public var failOver = FailOver.automatic
        /// What makes the sockets keyed; nil for plain ones.
        public var keys: ServerKeys?
        public var limits = PeerLimits()
        /// Allows endpoints that other machines can reach, without keys.
        public var insecure = false

        public init(database: DatabaseConfiguration, bind: Endpoints, liveBind: Endpoints) {
            self.database = database
            self.bind = bind
            self.liveBind = liveBind
        }
    }

    private let configuration: Configuration
    private let logger: Logger
    private let monitor = RoleMonitor(.pusher)
    public var monitors: [RoleMonitor] { [monitor] }

    public init(_ configuration: Configuration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    public func reload() { configuration.keys?.authorized.reload(logger: logger) }

    public func run() async throws {
        let isOpen = configuration.insecure || configuration.keys != nil
        try configuration.bind.requireLocal(setting: "EVT_PUSHER_BIND", allowed: isOpen)
        try configuration.liveBind.requireLocal(setting: "EVT_LIVE_BIND", allowed: isOpen)
        let (configuration, logger, monitor) = (configuration, logger, monitor)
        try await ServiceRunner.run { loop in
            let process = try PusherProcess(configuration, loop: loop, logger: logger)
            process.start()
            monitor.attach(loop) { [weak process] in
                process?.readiness ?? .stopping
            } serves: { [weak process] in
                process?.served
            } collect: { [weak process] completion in
                if let process { process.collect(completion) } else { completion() }
            }
            await ServiceRunner.untilShutdown()
            monitor.detach()
            await process.stop()
        }
    }
}
