package import PosixLoop

/// Runs `body` on the thread of an event loop of its own: a connection or a socket belongs to one thread.
package func onLoop<Value: Sendable>(
    _ body: nonisolated(nonsending) @Sendable (EventLoop) async throws -> Value
) async throws -> Value {
    let home = LoopActor()
    defer { home.loop.stop() }
    return try await home.run(body)
}

/// What callbacks report, in order.
package final class Log<Entry> {
    package private(set) var entries: [Entry] = []
    package init() {}
    package var count: Int { entries.count }
    package func add(_ entry: Entry) { entries.append(entry) }
}
