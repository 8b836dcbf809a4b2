import EventLoop
public import EventStream
import Logging

/// The `futoin.evt.push` and `futoin.evt.poll` service, and the live broadcast.
///
/// Every event is read once and encoded once, whoever gets it. Any number of pushers may work on one database.
public enum Pusher {
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
}

extension Pusher.Configuration: RoleConfiguration {
    static let role = Role.pusher
    var authorizedKeys: AuthorizedKeysFile? { keys?.authorized }

    func check() throws(ConfigurationError) {
        let isOpen = insecure || keys != nil
        try bind.requireLocal(setting: "EVT_PUSHER_BIND", allowed: isOpen)
        try liveBind.requireLocal(setting: "EVT_LIVE_BIND", allowed: isOpen)
    }

    func engine(on loop: EventLoop, logger: Logger) throws -> any RoleEngine {
        try PusherProcess(self, loop: loop, logger: logger)
    }
}
