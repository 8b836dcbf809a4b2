import EventStream
package import PosixLoop
import ServiceLifecycle

/// A role's work. Belongs to its host's thread.
package protocol RoleEngine: AnyObject {
    /// Listens, and begins to connect.
    func start()
    /// Works until the process is told to stop, then ends in order.
    func run() async throws
    /// How it stands; must not wait for anything.
    var readiness: Readiness { get }
    /// Which stream it serves, as soon as that is known.
    var served: ServedStream? { get }
    /// Brings the gauges up to date that nobody looks at otherwise.
    func collect() async
}

/// The actor around a role's engine: whoever wants something of the engine goes through here, and so runs on its thread.
package actor RoleHost {
    package nonisolated let loop = EventLoop()
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var engine: (any RoleEngine)?

    package func start(_ make: @Sendable (EventLoop) throws -> any RoleEngine) throws {
        let engine = try make(loop)
        engine.start()
        self.engine = engine
    }

    package func run() async throws {
        // It goes here, on its own thread.
        defer { engine = nil }
        try await engine?.run()
    }

    /// Comes back once the thread turns.
    package func turn() {}
    package var readiness: Readiness { engine?.readiness ?? .stopping }
    package var served: ServedStream? { engine?.served }
    package func collect() async { await engine?.collect() }
}

/// Waits for the order to stop.
package func untilShutdown() async { try? await gracefulShutdown() }
