public import EventStreamArchiver
public import EventStreamDiscarder
public import EventStreamGenerator
public import EventStreamPusher
public import EventStreamRelay
public import EventStreamServer
public import Logging
import ServiceLifecycle

/// Any of the roles in one process: for small deployments, and for applications that bring their own stream.
///
///     let app = EventStreamApp(generator: .init(bind: …), pusher: …, archiver: nil, discarder: …, logger: logger)
///     try await app.run()          // until the surrounding ServiceGroup stops, or the task is cancelled
public struct EventStreamApp: ServesRoles {
    private let services: [RoleService]
    private let logger: Logger

    /// A role that is nil is left out.
    public init(
        generator: Generator.Configuration? = nil, pusher: Pusher.Configuration? = nil,
        archiver: Archiver.Configuration? = nil, discarder: Discarder.Configuration? = nil,
        relay: Relay.Configuration? = nil, logger: Logger
    ) {
        self.logger = logger
        func named(_ role: String) -> Logger {
            var logger = logger
            logger[metadataKey: LogKey.role.rawValue] = "\(role)"
            return logger
        }
        let roles: [RoleService?] = [
            generator.map { RoleService($0, logger: named("generator")) },
            pusher.map { RoleService($0, logger: named("pusher")) },
            archiver.map { RoleService($0, logger: named("archiver")) },
            discarder.map { RoleService($0, logger: named("discarder")) },
            relay.map { RoleService($0, logger: named("relay")) },
        ]
        services = roles.compactMap { $0 }
    }

    public var monitors: [RoleMonitor] { services.flatMap(\.monitors) }

    public func reload() { for service in services { service.reload() } }

    /// Runs the roles until they are told to stop; the first failure stops all.
    public func run() async throws {
        var quiet = logger
        quiet.logLevel = .critical
        let group = ServiceGroup(
            configuration: .init(
                services: services.map { .init(service: $0, failureTerminationBehavior: .gracefullyShutdownGroup) },
                logger: quiet))
        try await withGracefulShutdownHandler {
            try await group.run()
        } onGracefulShutdown: {
            Task { await group.triggerGracefulShutdown() }
        }
    }
}
