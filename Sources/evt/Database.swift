import CommandLineSupport
import EventStream
import EventStreamDatabase
import LibPQ

/// The tables a command works with: whoever locks them is named where the command cannot have them.
enum LockedTables: Sendable {
    case stream(StreamTables)
    case archive(ArchiveTables)

    func hindrances(on connection: Connection) async throws -> [Hindrance] {
        switch self {
        case .stream(let tables):
            let found = try await Hindrance.load(tables, from: connection)
            return try await found.isEmpty ? Hindrance.registering(tables, from: connection) : found
        case .archive(let tables): return try await Hindrance.load(tables, from: connection)
        }
    }
}

/// What every command sets: a lock that somebody else has is waited for no longer than this.
let commandLimits = ["lock_timeout": "3s"]

/// Runs `body` with a connection of its own; a lock that is not to be had is an error that names who has it.
func withDatabase<Value: Sendable>(
    _ url: String, _ tables: LockedTables, settings: [String: String] = commandLimits,
    _ body: nonisolated(nonsending) @Sendable (Connection) async throws -> Value
) async throws -> Value {
    do {
        return try await withConnection(to: url, settings: settings, body)
    } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
        throw await lockFailure(error, url, tables)
    }
}

/// The error with those who have the lock, as far as they still have it.
func lockFailure(_ error: PostgresError, _ url: String, _ tables: LockedTables) async -> CommandFailure {
    let found = try? await withConnection(to: url, settings: ["statement_timeout": "5s", "lock_timeout": "1s"]) {
        try await tables.hindrances(on: $0).text
    }
    guard let found = found ?? nil else {
        return CommandFailure("\(error.message); nobody has such a lock any more: run the command again")
    }
    return CommandFailure(printable("\(error.message): \(found)"))
}
