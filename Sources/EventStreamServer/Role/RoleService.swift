package import Logging
package import PosixLoop
public import ServiceLifecycle

/// A service of one role or several.
public protocol ServesRoles: Service {
    /// What others see of the roles while they run.
    var monitors: [RoleMonitor] { get }
    /// Reads again what can be read again without stopping: authorized keys. What cannot be used is told in the log, and leaves
    /// everything as it was.
    func reload()
}

/// A role as a service: its engine on a thread of its own, from the start to a clean stop.
///
///     try await RoleService(Pusher.Configuration(…), logger: logger).run()
public struct RoleService: ServesRoles {
    private let configuration: any RoleConfiguration
    private let logger: Logger
    private let monitor: RoleMonitor
    public var monitors: [RoleMonitor] { [monitor] }

    package init(of configuration: any RoleConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        monitor = RoleMonitor(type(of: configuration).role)
    }

    public func reload() { configuration.authorizedKeys?.reload(logger: logger) }

    /// Works until the surrounding `ServiceGroup` stops.
    public func run() async throws {
        try configuration.check()
        let host = RoleHost()
        defer { host.loop.stop() }
        let (configuration, logger) = (configuration, logger)
        try await host.start { try configuration.engine(on: $0, logger: logger) }
        monitor.attach(host)
        defer { monitor.detach() }
        try await host.run()
    }
}

/// What a role's engine is made of.
package protocol RoleConfiguration: Sendable {
    static var role: Role { get }
    var authorizedKeys: AuthorizedKeysFile? { get }
    /// Refuses what is not safe.
    func check() throws(ConfigurationError)
    /// Called on the loop's thread.
    func engine(on loop: EventLoop, logger: Logger) throws -> any RoleEngine
}

extension RoleConfiguration {
    package var authorizedKeys: AuthorizedKeysFile? { nil }
    package func check() {}
}
