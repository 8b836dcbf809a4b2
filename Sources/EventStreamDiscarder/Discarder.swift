public import EventStreamServer
public import Logging
package import PosixLoop

/// Keeps the active table small: removes events that every registered consumer has confirmed.
public enum Discarder {
    public struct Configuration: Sendable {
        public var database: DatabaseConfiguration
        /// How often single events are discarded; segments that are complete are emptied sooner.
        public var pollPeriod = Settings.all.discardPollPeriod.standard
        /// Events one transaction deletes at most.
        public var limitAtOnce = Settings.all.discardLimit.standard
        /// Archives that must be seen to hold events before these are discarded.
        public var required: [RequiredArchive] = []
        /// A consumer that holds back more events than this is named in a warning.
        public var warnEvents = Settings.all.discardWarnEvents.standard

        public init(database: DatabaseConfiguration) { self.database = database }
    }

}

extension Discarder.Configuration: RoleConfiguration {
    package static let role = Role.discarder
    package func engine(on loop: EventLoop, logger: Logger) -> any RoleEngine {
        DiscarderEngine(self, loop: loop, logger: logger)
    }
}

extension RoleService {
    /// The discarder as a service.
    public init(_ configuration: Discarder.Configuration, logger: Logger) { self.init(of: configuration, logger: logger) }
}

extension SettingsReader {
    package func discarder() throws(ConfigurationError) -> Discarder.Configuration {
        var configuration = Discarder.Configuration(database: try database())
        configuration.pollPeriod = try self.discardPollPeriod
        configuration.limitAtOnce = try self.discardLimit
        configuration.warnEvents = try self.discardWarnEvents
        configuration.required = try requiredArchives()
        return configuration
    }
}
