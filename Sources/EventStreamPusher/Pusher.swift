public import EventStream
public import EventStreamServer
public import Logging
package import PosixLoop

/// The `futoin.evt.push` and `futoin.evt.poll` service, and the live broadcast.
///
/// Every event is read once and encoded once, whoever gets it. Any number of pushers may work on one database.
public enum Pusher {
    public struct Configuration: Sendable {
        public var database: DatabaseConfiguration
        /// Where discarded events are read; nil for nowhere.
        public var archive: ArchiveConfiguration?
        /// Where receivers and pollers connect; none turns the service off.
        public var bind: Endpoints
        /// Where plain subscribers connect; none turns the broadcast off.
        public var liveBind: Endpoints
        /// Whether consumers may register and be served reliably.
        public var allowReliable = Settings.all.allowReliable.standard
        /// Whether pollEvents may be called.
        public var allowPolling = Settings.all.allowPolling.standard
        /// Events in an answer to pollEvents at most.
        public var maxChunkEvents = Settings.all.maxChunkEvents.standard
        /// How a group is cut; at most ``GroupLimits/largest``.
        package var groupLimits = GroupLimits(events: GroupLimits.largest.events, bytes: Settings.all.groupBytes.standard)
        package var delivery = ConsumerDelivery.Configuration()
        /// How often an event may fail before it is parked; 0 for never.
        public var maxAttempts = Settings.all.maxAttempts.standard
        /// Whether events wait behind a parked event of the same key.
        public var park = Settings.all.park.standard
        /// Parked events of one consumer at most.
        public var parkMax = Settings.all.parkMax.standard
        /// Events that may wait for a live receiver before the oldest are dropped.
        public var queueMax = Settings.all.queueMax.standard
        /// How long a session lives without a word from its peer.
        public var sessionTimeout = Settings.all.sessionTimeout.standard
        /// When the head of the stream is read.
        package var head = HeadReader.Configuration()
        /// Bytes a request may have.
        public var maxRequestBytes = Settings.all.maxRequestBytes.standard
        /// Bytes of events kept for the consumers at the head.
        public var windowBytes = Settings.all.windowBytes.standard
        /// Bytes of groups and answers that may wait to be sent, all peers together; as many more for the live broadcast.
        public var sendBytes = Settings.all.sendBytes.standard
        /// How long a stop waits for the groups in flight to be answered.
        public var drainTimeout = Duration.seconds(2)
        /// How much of its time goes to events of the archive, in percent; 1 to 100.
        public var replayShare = Settings.all.replayShare.standard
        /// Who decides that a database on another timeline is the home of the stream.
        public var failOver = Settings.all.failOver.standard
        /// What makes the sockets keyed; nil for plain ones.
        public var keys: ServerKeys?
        public var limits = PeerLimits()
        /// Allows endpoints that other machines can reach, without keys.
        public var insecure = Settings.all.insecure.standard

        public init(database: DatabaseConfiguration, bind: Endpoints, liveBind: Endpoints) {
            self.database = database
            self.bind = bind
            self.liveBind = liveBind
        }
    }
}

extension Pusher.Configuration: RoleConfiguration {
    package static let role = Role.pusher
    package var authorizedKeys: AuthorizedKeysFile? { keys?.authorized }

    package func check() throws(ConfigurationError) {
        let isOpen = insecure || keys != nil
        try bind.requireLocal(setting: "EVT_PUSHER_BIND", allowed: isOpen)
        try liveBind.requireLocal(setting: "EVT_LIVE_BIND", allowed: isOpen)
    }

    package func engine(on loop: EventLoop, logger: Logger) throws -> any RoleEngine {
        try PusherProcess(self, loop: loop, logger: logger)
    }
}

extension RoleService {
    /// The pusher as a service.
    public init(_ configuration: Pusher.Configuration, logger: Logger) { self.init(of: configuration, logger: logger) }
}

extension SettingsReader {
    package func pusher() throws(ConfigurationError) -> Pusher.Configuration {
        var configuration = Pusher.Configuration(
            database: try database(), bind: try bound(\.pusherBind), liveBind: try bound(\.liveBind))
        configuration.archive = try archiveIfSet()
        configuration.keys = try serverKeys()
        configuration.limits = try peerLimits()
        configuration.allowReliable = try self.allowReliable
        configuration.allowPolling = try self.allowPolling
        configuration.maxChunkEvents = try self.maxChunkEvents
        configuration.groupLimits.bytes = try self.groupBytes
        configuration.delivery.requestMax = try self.requestMax
        configuration.delivery.ackTimeout = try self.ackTimeout
        configuration.maxAttempts = try self.maxAttempts
        configuration.park = try self.park
        configuration.parkMax = try self.parkMax
        configuration.queueMax = try self.queueMax
        configuration.sessionTimeout = try self.sessionTimeout
        configuration.failOver = try self.failOver
        var latch = configuration.head.latch
        latch.shortestPause = try self.sleepMin
        latch.longestSleep = try self.sleepMax
        latch.step = try self.sleepStep
        latch.longestPause = max(latch.shortestPause, min(latch.longestPause, latch.longestSleep))
        configuration.head.latch = latch
        configuration.head.pace.share = try self.headShare
        configuration.replayShare = try self.replayShare
        configuration.maxRequestBytes = try self.maxRequestBytes
        configuration.windowBytes = try self.windowBytes
        configuration.sendBytes = try self.sendBytes
        configuration.insecure = try self.insecure
        return configuration
    }
}
