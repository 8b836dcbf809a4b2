import LibPQ
import TestSupport

/// A snapshot that is held while `body` runs: what it may need nobody vacuums away.
enum OldSnapshot {
    static func hold<Value: Sendable>(
        on url: String, _ body: nonisolated(nonsending) @Sendable (Connection) async throws -> Value
    ) async throws -> Value {
        try await TestDatabase.connected(to: url) { old in
            try await old.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
            try await old.query("SELECT txid_current_snapshot()")
            let value = try await body(old)
            try await old.query("ROLLBACK")
            return value
        }
    }
}
