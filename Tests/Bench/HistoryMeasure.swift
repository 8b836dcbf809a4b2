import EventStream
import EventStreamClient
import LibPQ
import PosixLoop

/// Stored events to one reliable receiver.
enum HistoryMeasure {
    static let events = 500_000

    static func row(_ server: String, runs: Int) async throws -> Row {
        try await Database.with(server) { database in
            try await database.fill(events)
            var (copied, pushed): ([Double], [Double]) = ([], [])
            // The first run only warms the receiver up: its buffers are new to it.
            for run in 0...runs {
                let (baseline, result) = (try await copy(database), try await push(database, component: "HISTORY\(run)"))
                if run > 0 {
                    copied.append(baseline)
                    pushed.append(result)
                }
            }
            let (baseline, result) = (Double(events) / copied.median, Double(events) / pushed.median)
            return Row(
                measure: "500k stored events to one reliable receiver", baseline: "COPY TO STDOUT \(baseline.rate)",
                result: result.rate, ratio: (result / baseline).text(2), mark: ">= 0.40", isGood: result / baseline >= 0.4)
        }
    }

    private static func copy(_ database: Database) async throws -> Double {
        try await database.connected { connection in
            let start = ContinuousClock.now
            try await connection.copyOut("COPY (SELECT id, type, data, ts FROM evt_queue) TO STDOUT") { _ in }
            return (ContinuousClock.now - start).seconds
        }
    }

    /// The same with keys, against without.
    static func keyedRow(_ server: String, runs: Int) async throws -> Row {
        try await Database.with(server) { database in
            try await database.fill(events)
            return try await BenchKeys.with { keys in
                let (plain, keyed) = try await medians(of: runs) { run in
                    let plain = try await push(database, component: "PLAIN\(run)")
                    return (plain, try await push(database, component: "KEYED\(run)", keys: keys))
                }
                let (baseline, result) = (Double(events) / plain, Double(events) / keyed)
                return Row(
                    measure: "the same with CURVE", baseline: "without \(baseline.rate)", result: result.rate,
                    ratio: (result / baseline).text(2), mark: ">= 0.60", isGood: result / baseline >= 0.6)
            }
        }
    }

    /// From the call for the session to the last answer.
    private static func push(_ database: Database, component: String, keys: BenchKeys? = nil) async throws -> Double {
        try await Receiver.with(component, in: database, keys: keys) { _, receiver in
            let start = ContinuousClock.now
            await receiver.wait(for: events)
            return (ContinuousClock.now - start).seconds
        }
    }
}
