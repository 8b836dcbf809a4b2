public import EventStream
public import EventStreamServer
public import Logging
package import PosixLoop

/// Hands every event to an HTTP endpoint (a webhook), and confirms what the endpoint has taken: a reliable consumer.
public enum Relay {
    public struct Configuration: Sendable {
        /// The URL of the endpoint.
        public var url: String
        /// The pusher, or several.
        public var connect: Endpoints
        /// For a pusher that has keys.
        public var keys: ClientKeys?
        /// Its name as a consumer: with keys the user is as the pusher's authorized keys call it.
        public var consumer = Settings.all.relayComponent.standard
        public var want = Settings.all.relayWant.standard
        /// Into how many slices the consumer is cut; nil for none.
        public var slices = Settings.all.relaySlices.standard
        /// So many of them this relay takes at most; nil for all that are free.
        public var slicesMax = Settings.all.relaySlicesMax.standard
        public var format = Settings.all.relayFormat.standard
        /// Of one request.
        public var timeout = Settings.all.relayTimeout.standard
        /// Requests under way at most.
        public var concurrency = Settings.all.relayConcurrency.standard
        /// `whsec_…`, or several separated by commas: what requests are signed with; nil for none.
        public var secret: String? { didSet { secretFile = nil } }
        /// The file the secret was in: what it holds now counts.
        package var secretFile: SecretFile?
        /// Whether the endpoint's address may be none of the public internet.
        public var allowsPrivate = Settings.all.relayAllowPrivate.standard
        /// Whether requests may go over other networks without encryption.
        public var insecure = Settings.all.insecure.standard
        /// How often the pusher gets a sign of life; at most a third of its session timeout.
        public var keepAlive = Settings.all.sessionTimeout.standard / 3

        public init(url: String, connect: Endpoints) {
            self.url = url
            self.connect = connect
        }

        func target() throws(ConfigurationError) -> RelayTarget {
            try RelayTarget(url, insecure: insecure, allowPrivate: allowsPrivate)
        }

        /// As they are now.
        func secrets() throws(ConfigurationError) -> [WebhookSecret] {
            if let secretFile { return try WebhookSecret.list(try secretFile.read(), of: secretFile.setting) }
            return try WebhookSecret.list(secret ?? "", of: Settings.all.relaySecret.facts.name)
        }
    }
}

extension Relay.Configuration: RoleConfiguration {
    package static let role = Role.relay
    package func check() throws(ConfigurationError) {
        _ = (try target(), try secrets())
    }
    package func engine(on loop: EventLoop, logger: Logger) throws -> any RoleEngine { try RelayEngine(self, logger: logger) }
}

extension RoleService {
    /// The relay as a service.
    public init(_ configuration: Relay.Configuration, logger: Logger) { self.init(of: configuration, logger: logger) }
}

extension SettingsReader {
    package func relay() throws(ConfigurationError) -> Relay.Configuration {
        var configuration = Relay.Configuration(url: try required(Settings.all.relayTo), connect: try self.pusherConnect)
        configuration.keys = try clientKeys()
        configuration.consumer = try self.relayComponent
        configuration.want = try self.relayWant
        configuration.slices = try self.relaySlices
        configuration.slicesMax = try self.relaySlicesMax
        configuration.format = try self.relayFormat
        configuration.timeout = try self.relayTimeout
        configuration.concurrency = try self.relayConcurrency
        (configuration.secret, configuration.secretFile) = try givenSecret()
        configuration.allowsPrivate = try self.relayAllowPrivate
        configuration.insecure = try self.insecure
        configuration.keepAlive = min(configuration.keepAlive, try self.sessionTimeout / 3)
        try configuration.check()
        return configuration
    }

    private func givenSecret() throws(ConfigurationError) -> (String?, SecretFile?) {
        let given = try self.relaySecret
        guard let path = try self.relaySecretFile else { return (given, nil) }
        let (name, fileName) = (Settings.all.relaySecret.facts.name, Settings.all.relaySecretFile.facts.name)
        guard given == nil else { throw ConfigurationError("\(name) and \(fileName) are both set: set only one of the two") }
        let file = SecretFile(setting: fileName, path: path, holds: "line of secrets")
        let text = try file.read()
        // A pipe or a terminal gives what it has once.
        return (text, file.isRegular ? file : nil)
    }
}
