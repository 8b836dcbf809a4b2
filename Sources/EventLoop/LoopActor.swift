/// An actor whose thread is an ``EventLoop``: the simplest home for connections and sockets.
///
///     let home = LoopActor()
///     try await home.run { loop in
///         let connection = try await Connection.open("dbname=app", on: loop)
///         …
///     }
public actor LoopActor {
    public nonisolated let loop: EventLoop
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    public init(loop: EventLoop = EventLoop()) { self.loop = loop }

    /// Runs `body` on the loop's thread; values that are not `Sendable` may be made and used within.
    public func run<Value: Sendable>(
        _ body: nonisolated(nonsending) @Sendable (EventLoop) async throws -> Value
    ) async rethrows -> Value {
        try await body(loop)
    }
}
