import LibPQ
import TestSupport

/// Transactions of one event each, with and without a discarder at work.
enum InsertingMeasure {
    private static let backlog = 900_000
    private static let (rate, writers) = (2000, 4)
    /// How often the two take turns in a run, and for how long each.
    private static let (turns, seconds) = (5, 4)

    static func row(_ server: String, runs: Int) async throws -> Row {
        var (alone, together): ([Double], [Double]) = ([], [])
        for _ in 0..<runs {
            let times = try await Database.with(server) { try await takeTurns($0) }
            alone += times.alone
            together += times.together
        }
        let (baseline, result) = (alone.median, together.median)
        return Row(
            measure: "recording at \(rate) tx/s while discarding, p99", baseline: "no discarder \(baseline.text(2)) ms",
            result: "\(result.text(2)) ms", ratio: (result / baseline).text(2), mark: "<= 1.50", isGood: result / baseline <= 1.5)
    }

    /// In each turn of the discarder it gets a part of a large backlog at once.
    ///
    /// - Returns: the 99th percentile of each turn, so that what disturbs one does not decide.
    private static func takeTurns(_ database: Database) async throws -> (alone: [Double], together: [Double]) {
        var times: (alone: [Double], together: [Double]) = ([], [])
        try await database.register("INSERTING")
        try await database.fill(backlog)
        let settings = ["EVT_DATABASE_URL": database.url, "EVT_DISCARD_POLL_PERIOD": "100ms"]
        for turn in 1...turns {
            times.alone.append(try await insertOneByOne(database).percentile(0.99))
            times.together.append(
                try await ChildProcess.quietly("evt-discarder", settings) { process in
                    // What its start costs is no discarding.
                    try await database.waitForDiscarder(process)
                    try await Task.sleep(for: .milliseconds(500))
                    try await database.execute(
                        "UPDATE evt_consumers SET last_evt_id = \(backlog / turns * turn) WHERE ident = 'local:INSERTING'")
                    let times = try await insertOneByOne(database)
                    try process.checkRunning()
                    return times.percentile(0.99)
                })
        }
        return times
    }

    /// Milliseconds of each transaction. One that has to wait for the one before counts from when it was due: a stall counts
    /// for all that it delays.
    private static func insertOneByOne(_ database: Database) async throws -> [Double] {
        let add = Statement(
            "SELECT evt_add('BENCH', json_build_object('n', $1::bigint, 'name', 'a customer', 'text', repeat('x', 90)))",
            name: "bench_add_one")
        let start = ContinuousClock.now + .milliseconds(100)
        return try await withThrowingTaskGroup(of: [Double].self) { group in
            for writer in 0..<writers {
                group.addTask {
                    try await database.connected { connection in
                        var times: [Double] = []
                        for number in stride(from: writer, to: rate * seconds, by: writers) {
                            var begin = start + .seconds(1) * number / rate
                            if ContinuousClock.now < begin {
                                try await Task.sleep(until: begin, clock: .continuous)
                                begin = .now
                            }
                            try await connection.query(add, [.int8(Int64(number))])
                            times.append((ContinuousClock.now - begin).seconds * 1000)
                        }
                        return times
                    }
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }
}
