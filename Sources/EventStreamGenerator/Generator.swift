public import EventStreamServer
public import Logging
package import PosixLoop

/// The `futoin.evt.gen` service: records events for those who have no database transaction of their own.
///
/// Requests that arrive while a commit is under way are committed together by the next one. Each is answered after its
/// commit, so an id that was answered is durable.
public enum Generator {
    public struct Configuration: Sendable {
        /// Where to listen; none turns the service off.
        public var bind: Endpoints
        public var database: DatabaseConfiguration
        /// Bytes a request may have.
        public var maxRequestBytes = Settings.all.maxRequestBytes.standard
        /// Events one commit may have; at least 1.
        public var commitMax = 1000
        /// Of one user while others wait, too.
        public var commitShare = 32
        /// Events waiting for a commit at most, half of them of one user; past it requests are turned away.
        public var queueMax = 100_000
        /// Bytes of their data at most.
        public var queueBytes = 64 << 20
        /// What makes the socket keyed; nil for a plain one.
        public var keys: ServerKeys?
        public var limits = PeerLimits()
        /// Allows endpoints that other machines can reach, without keys.
        public var insecure = Settings.all.insecure.standard

        public init(bind: Endpoints, database: DatabaseConfiguration) {
            self.bind = bind
            self.database = database
        }
    }

}

extension Generator.Configuration: RoleConfiguration {
    package static let role = Role.generator
    package var authorizedKeys: AuthorizedKeysFile? { keys?.authorized }

    package func check() throws(ConfigurationError) {
        try bind.requireLocal(setting: "EVT_GENERATOR_BIND", allowed: insecure || keys != nil)
    }

    package func engine(on loop: EventLoop, logger: Logger) throws -> any RoleEngine {
        try GeneratorEngine(self, loop: loop, logger: logger)
    }
}

extension RoleService {
    /// The generator as a service.
    public init(_ configuration: Generator.Configuration, logger: Logger) { self.init(of: configuration, logger: logger) }
}

extension SettingsReader {
    package func generator() throws(ConfigurationError) -> Generator.Configuration {
        var configuration = Generator.Configuration(bind: try bound(\.generatorBind), database: try database())
        configuration.keys = try serverKeys()
        configuration.limits = try peerLimits()
        configuration.maxRequestBytes = try self.maxRequestBytes
        configuration.insecure = try self.insecure
        return configuration
    }
}
