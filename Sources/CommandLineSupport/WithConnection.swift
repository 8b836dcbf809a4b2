package import LibPQ
import PosixLoop

/// Runs `body` with a connection of its own, named after the program, on a thread of its own.
package func withConnection<Value: Sendable>(
    to url: String, settings: [String: String] = [:],
    _ body: nonisolated(nonsending) @Sendable (Connection) async throws -> Value
) async throws -> Value {
    // A database may have another default, under which single statements fail for what others do.
    let settings = settings.merging(["default_transaction_isolation": "read committed"]) { mine, _ in mine }
    let program = CommandLine.arguments.first?.split(separator: "/").last.map { String($0) } ?? ""
    let home = LoopActor()
    defer { home.loop.stop() }
    return try await home.run { loop in
        let connection = try await Connection.open(
            ConnectionOptions(url, applicationName: program, settings: settings), on: loop)
        defer { connection.close() }
        return try await body(connection)
    }
}
