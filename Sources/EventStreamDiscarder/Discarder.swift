package import EventStreamDatabase
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
        /// For how long an idempotency key is known at least.
        public var idempotencyWindow = Settings.all.idempotencyWindow.standard
        /// Archives that must be seen to hold events before these are discarded.
        public var required: [RequiredArchive] = []
        /// A consumer that holds back more events than this is named in a warning.
        public var warnEvents = Settings.all.discardWarnEvents.standard
        /// A consumer that is further behind holds no more than that back; nil for no limit. Counts only where archives are
        /// required: events that a consumer has not confirmed are only there then.
        package var maxLag = Settings.all.discardMaxLag.standard
        /// The maximum lag as a number of events, counted by their ids; takes the place of ``maxLagTime``.
        public var maxLagEvents: Int? {
            get { if case .events(let events) = maxLag { Int(events) } else { nil } }
            set { maxLag = newValue.map { .events(Int64($0)) } }
        }
        /// The maximum lag as the age of the first event that a consumer has not confirmed; takes the place of ``maxLagEvents``.
        public var maxLagTime: Duration? {
            get { if case .time(let time) = maxLag { time } else { nil } }
            set { maxLag = newValue.map { .time($0) } }
        }

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
        configuration.idempotencyWindow = try self.idempotencyWindow
        configuration.warnEvents = try self.discardWarnEvents
        configuration.required = try requiredArchives()
        configuration.maxLag = try self.discardMaxLag
        guard configuration.maxLag == nil || !configuration.required.isEmpty else {
            throw ConfigurationError(
                "\(Settings.all.discardMaxLag.facts) needs \(Settings.all.discardRequire.facts): events that a consumer has not "
                    + "confirmed are only in the archive then, so the archive must be seen to hold the events before they are discarded"
            )
        }
        return configuration
    }
}
