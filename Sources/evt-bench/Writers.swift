import EventLoop
import Postgres

/// Records events as fast as the server takes them, a hundred in a transaction.
enum Writers {
    static let eventsEach = 100

    private static let insert = Statement(
        """
        INSERT INTO evt_queue (type, data) SELECT 'BENCH', \(Database.data) FROM generate_series(1, \(eventsEach)) g
        """, name: "bench_insert")

    /// Records at least so many events with so many connections; returns the seconds it took.
    static func write(_ count: Int, connections: Int, to database: Database) async throws -> Double {
        let start = ContinuousClock.now
        try await withThrowingTaskGroup { group in
            for _ in 0..<connections {
                group.addTask {
                    try await database.connected { connection in
                        for _ in 0..<(count / eventsEach / connections) { try await connection.query(insert) }
                    }
                }
            }
            try await group.waitForAll()
        }
        return (ContinuousClock.now - start).seconds
    }
}
