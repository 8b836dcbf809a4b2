import LibPQ
import TestSupport

/// Confirmed events, discarded and simply deleted.
enum DiscardMeasure {
    private static let events = 500_000

    /// Each time in new databases, so that the ids are the same and nothing is left of what was deleted before.
    ///
    /// - Parameter verifies: whether the discarder may delete only what it has found in the warehouse.
    static func row(_ server: String, runs: Int, verifies: Bool) async throws -> Row {
        var (deleted, discarded): ([Double], [Double]) = ([], [])
        for _ in 0..<runs {
            deleted.append(try await Database.with(server) { try await delete($0) })
            discarded.append(
                try await Database.with(server) { database in
                    try await Database.withWarehouse(server) { try await discard(database, verifies ? $0 : nil) }
                })
        }
        let (baseline, result) = (Double(events) / deleted.median, Double(events) / discarded.median)
        let mark = verifies ? 0.15 : 0.7
        return Row(
            measure: "500k confirmed events discarded" + (verifies ? ", verified" : ""),
            baseline: "one DELETE \(baseline.rate)", result: result.rate, ratio: (result / baseline).text(2),
            mark: ">= \(mark.text(2))", isGood: result / baseline >= mark)
    }

    private static func delete(_ database: Database) async throws -> Double {
        try await database.fill(events)
        return try await database.connected { connection in
            let start = ContinuousClock.now
            try await connection.query("DELETE FROM evt_queue")
            return (ContinuousClock.now - start).seconds
        }
    }

    /// From the moment the process has its connection until the table is empty.
    private static func discard(_ database: Database, _ warehouse: Database?) async throws -> Double {
        try await database.fill(events)
        try await confirm(database, warehouse)
        try await database.execute("CHECKPOINT")
        let last = try await database.number("SELECT max(id) FROM evt_queue")
        var settings = ["EVT_DATABASE_URL": database.url, "EVT_DISCARD_POLL_PERIOD": "100ms"]
        if let warehouse { settings.merge(["EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_ARCHIVE_URL": warehouse.url]) { $1 } }
        return try await ChildProcess.quietly("evt-discarder", settings) { process in
            try await database.waitForDiscarder(process)
            let start = ContinuousClock.now
            // The newest goes last. To look for any at all each time would be to read over and over what was deleted.
            try await database.wait(
                until: "NOT EXISTS (SELECT FROM evt_queue WHERE id = \(last)) AND NOT EXISTS (SELECT FROM evt_queue)",
                every: .milliseconds(2), while: [process])
            return (ContinuousClock.now - start).seconds
        }
    }

    private static func confirm(_ database: Database, _ warehouse: Database?) async throws {
        guard let warehouse else {
            try await database.register("ARCHIVER")
            return try await database.confirmAll("ARCHIVER")
        }
        let last = try await database.number("SELECT max(id) FROM evt_queue")
        try await ArchiverProcess.with("ARCHIVER", from: database, to: warehouse) { try await $0.wait(for: last) }
        // The position is stored when the archiver has ended.
        guard try await database.position(of: "ARCHIVER") == last else { throw Failure("not all of the archive is confirmed") }
        try await warehouse.execute("VACUUM ANALYZE evt_history")
    }
}

extension Database {
    /// Waits until the discarder has its connection.
    func waitForDiscarder(_ process: ChildProcess) async throws {
        try await wait(
            until: """
                EXISTS (SELECT FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name LIKE 'evt-discarder%')
                """, every: .milliseconds(1), while: [process])
    }
}
