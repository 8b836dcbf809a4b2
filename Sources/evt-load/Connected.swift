import EventLoop
import Postgres

/// Runs `body` with a connection of its own, on a thread of its own.
func connected<Value: Sendable>(
    to url: String, _ body: nonisolated(nonsending) @Sendable (Connection) async throws -> Value
) async throws -> Value {
    let home = LoopActor()
    defer { home.loop.stop() }
    return try await home.run { loop in
        let connection = try await Connection.open(ConnectionOptions(url, applicationName: "evt-load"), on: loop)
        defer { connection.close() }
        return try await body(connection)
    }
}
