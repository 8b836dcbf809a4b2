import LibPQ
import Synchronization

/// Up to which id nobody can add an event any more: the ids of each writer only grow.
final class Settled: Sendable {
    /// What each writer has committed last; nil when it has ended.
    private let newest: Mutex<[Int?]>

    init(writers: Int) { newest = Mutex(Array(repeating: 0, count: writers)) }

    func committed(_ id: Int, by writer: Int) { newest.withLock { $0[writer] = id } }
    func ended(_ writer: Int) { newest.withLock { $0[writer] = nil } }

    /// Nil when all have ended.
    var id: Int? { newest.withLock { $0.compactMap { $0 }.min() } }
}

/// Plays a receiver: confirms events soon after they were recorded.
enum Confirmer {
    /// Moves a registered consumer every few milliseconds while `body` runs.
    ///
    /// - Parameter distance: how far the consumer stays behind what is settled.
    static func with<Value>(
        _ component: String, in database: Database, behind settled: Settled, by distance: Int, _ body: () async throws -> Value
    ) async throws -> Value {
        let move = Statement(
            "UPDATE evt_consumers SET last_evt_id = $2::bigint WHERE ident = $1 AND last_evt_id < $2::bigint",
            name: "bench_confirm")
        return try await alongside {
            try await database.connected { connection in
                while true {
                    if let id = settled.id {
                        try await connection.query(move, [.text("local:\(component)"), .int8(Int64(id - distance))])
                    }
                    try await Task.sleep(for: .milliseconds(5))
                }
            }
        } body: {
            try await body()
        }
    }
}

/// Runs `body` and, until it has ended, `work`.
func alongside<Value>(
    _ work: @escaping @Sendable () async throws -> Void, body: () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            do { try await work() } catch is CancellationError {}
        }
        let value = try await body()
        group.cancelAll()
        try await group.waitForAll()
        return value
    }
}
