import LibPQ
import TestSupport

/// Transactions of one event each, with and without an idempotency key.
enum OnceMeasure {
    private static let clients = 4
    /// How often the two take turns in a run, and for how long each.
    private static let (turns, seconds) = (3, 3)

    static func row(_ server: String, runs: Int) async throws -> Row {
        let (plain, once) = try await Database.with(server) { database in
            var rates: (plain: [Double], once: [Double]) = ([], [])
            for turn in 0..<(runs * turns) {
                rates.plain.append(try await rate(database, "'BENCH', '{\"n\": 1}'"))
                rates.once.append(
                    try await rate(
                        database,
                        "'BENCH', '{\"n\": 1}', idempotency_key => 'turn \(turn) client ' || $1::bigint || ' ' || $2::bigint"))
            }
            return (rates.plain.median, rates.once.median)
        }
        return Row(
            measure: "recording with idempotency keys, \(clients) clients", baseline: "evt_add \(plain.rate)", result: once.rate,
            ratio: (once / plain).text(2), mark: ">= 0.40", isGood: once / plain >= 0.4)
    }

    /// Transactions a second.
    private static func rate(_ database: Database, _ arguments: String) async throws -> Double {
        // Both statements have the same parameters.
        let add = Statement("SELECT evt_add(\(arguments)), $1::bigint, $2::bigint")
        let end = ContinuousClock.now + .seconds(seconds)
        let count = try await withThrowingTaskGroup(of: Int.self) { group in
            for client in 0..<clients {
                group.addTask {
                    try await database.connected { connection in
                        var count = 0
                        while ContinuousClock.now < end {
                            try await connection.query(add, [.int8(Int64(client)), .int8(Int64(count))])
                            count += 1
                        }
                        return count
                    }
                }
            }
            return try await group.reduce(0, +)
        }
        return Double(count) / Double(seconds)
    }
}
