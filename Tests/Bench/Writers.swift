import LibPQ
import PosixLoop

/// Records events as fast as the server takes them, a hundred in a transaction.
enum Writers {
    static let eventsEach = 100

    private static let insert = Statement(
        """
        INSERT INTO evt_queue (type, data) SELECT 'BENCH', \(Database.data) FROM generate_series(1, \(eventsEach)) g
        """, name: "bench_insert")

    private static let insertTelling = Statement(
        "WITH added AS (\(insert.sql) RETURNING id) SELECT max(id) FROM added", name: "bench_insert_telling")

    /// Records at least so many events with so many connections; returns the seconds it took.
    static func write(
        _ count: Int, connections: Int, to database: Database, _ settled: Settled? = nil
    ) async throws -> Double {
        let start = ContinuousClock.now
        try await withThrowingTaskGroup { group in
            for writer in 0..<connections {
                group.addTask {
                    try await database.connected { connection in
                        for _ in 0..<(count / eventsEach / connections) {
                            guard let settled else {
                                try await connection.query(insert)
                                continue
                            }
                            settled.committed(Int(try await connection.query(insertTelling).int(0, 0) ?? 0), by: writer)
                        }
                        settled?.ended(writer)
                    }
                }
            }
            try await group.waitForAll()
        }
        return (ContinuousClock.now - start).seconds
    }
}
