import TestSupport

/// Stored events to a warehouse on the same server.
enum ArchiveMeasure {
    private static let events = 300_000

    static func row(_ server: String, runs: Int) async throws -> Row {
        try await Database.with(server) { database in
            try await database.fill(events)
            let (piped, archived) = try await medians(of: runs) { run in
                let baseline = try await Database.withWarehouse(server) { try await pipe(database, to: $0) }
                let result = try await Database.withWarehouse(server) {
                    try await archive(database, to: $0, component: "ARCHIVE\(run)")
                }
                return (baseline, result)
            }
            let (baseline, result) = (Double(events) / piped, Double(events) / archived)
            return Row(
                measure: "300k stored events to a warehouse", baseline: "COPY, piped \(baseline.rate)", result: result.rate,
                ratio: (result / baseline).text(2), mark: ">= 0.40", isGood: result / baseline >= 0.4)
        }
    }

    /// `COPY` from one psql into another, without what the two need to start: the time of a pipe with no rows is taken off.
    private static func pipe(_ database: Database, to warehouse: Database) async throws -> Double {
        let columns = "id, type, data, ts"
        func copy(_ rows: String) async throws -> Double {
            try await Psql.pipe(
                "COPY (SELECT \(columns) FROM evt_queue \(rows)) TO STDOUT (FORMAT binary)", on: database,
                "COPY evt_history (\(columns)) FROM STDIN (FORMAT binary)", on: warehouse)
        }
        let start = try await copy("WHERE false")
        try await warehouse.execute("CHECKPOINT")
        let seconds = try await copy("")
        try await check(warehouse)
        return seconds - start
    }

    /// From the beginning of the archiver's session, which is when it has its connections, to the last commit.
    private static func archive(_ database: Database, to warehouse: Database, component: String) async throws -> Double {
        let last = try await database.number("SELECT max(id) FROM evt_queue")
        try await warehouse.execute("CHECKPOINT")
        let seconds = try await ArchiverProcess.with(component, from: database, to: warehouse) { archiver in
            let start = ContinuousClock.now
            try await archiver.wait(for: last)
            return (ContinuousClock.now - start).seconds
        }
        try await check(warehouse)
        return seconds
    }

    private static func check(_ warehouse: Database) async throws {
        let count = try await warehouse.number("SELECT count(*) FROM evt_history")
        guard count == events else { throw Failure("\(count) events in the warehouse, not \(events)") }
    }
}
