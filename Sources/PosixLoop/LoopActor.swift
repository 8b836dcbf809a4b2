/// An actor whose thread is an ``EventLoop``: the simplest home for connections and sockets.
///
///     let home = LoopActor()
///     try await home.run { loop in
///         let connection = try await Connection.open("dbname=app", on: loop)
///         …
///     }
package actor LoopActor {
    package nonisolated let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    package init(loop: EventLoop = EventLoop()) { self.loop = loop }

    /// Runs `body` on the loop's thread; values that are not `Sendable` may be made and used within.
    package func run<Value: Sendable>(
        _ body: nonisolated(nonsending) @Sendable (EventLoop) async throws -> Value
    ) async rethrows -> Value {
        try await body(loop)
    }
}
