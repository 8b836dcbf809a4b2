/// Writers at full speed and an archiver, until everything is in the warehouse.
enum ArchivingMeasure {
    private static let events = 400_000
    /// Before the clock starts: what has just been started has memory to get first.
    private static let warmUp = 100_000
    private static let writers = 4

    static func row(_ server: String, runs: Int) async throws -> Row {
        try await Database.with(server) { database in
            let (alone, together) = try await medians(of: runs) { run in
                try await database.execute("TRUNCATE evt_queue; CHECKPOINT")
                _ = try await Writers.write(warmUp, connections: writers, to: database)
                let baseline = try await Writers.write(events, connections: writers, to: database)
                try await database.execute("TRUNCATE evt_queue; CHECKPOINT")
                let result = try await Database.withWarehouse(server) {
                    try await withArchiver(database, to: $0, component: "ARCHIVING\(run)")
                }
                return (baseline, result)
            }
            let (baseline, result) = (Double(events) / alone, Double(events) / together)
            return Row(
                measure: "live: \(writers) writers, 100 a transaction, until archived",
                baseline: "writers alone \(baseline.rate)", result: result.rate, ratio: (result / baseline).text(2),
                mark: ">= 0.60", isGood: result / baseline >= 0.6)
        }
    }

    private static func withArchiver(_ database: Database, to warehouse: Database, component: String) async throws -> Double {
        try await ArchiverProcess.with(component, from: database, to: warehouse) { archiver in
            _ = try await Writers.write(warmUp, connections: writers, to: database)
            try await archiver.wait(for: try await database.number("SELECT max(id) FROM evt_queue"))
            let start = ContinuousClock.now
            _ = try await Writers.write(events, connections: writers, to: database)
            try await archiver.wait(for: try await database.number("SELECT max(id) FROM evt_queue"))
            return (ContinuousClock.now - start).seconds
        }
    }
}
