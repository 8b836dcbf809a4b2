import EventStream
import EventStreamClient
import LibPQ
import PosixLoop

/// Writers at full speed and one reliable receiver, until everything is confirmed.
enum LiveMeasure {
    private static let events = 200_000
    private static let writers = 4

    static func row(_ server: String, runs: Int) async throws -> Row {
        try await Database.with(server) { database in
            let (alone, together) = try await medians(of: runs) { run in
                try await database.execute("TRUNCATE evt_queue; CHECKPOINT")
                let baseline = try await Writers.write(events, connections: writers, to: database)
                try await database.execute("TRUNCATE evt_queue; CHECKPOINT")
                let result = try await withReceiver(database, component: "LIVELY\(run)")
                return (baseline, result)
            }
            let (baseline, result) = (Double(events) / alone, Double(events) / together)
            return Row(
                measure: "live: \(writers) writers, 100 a transaction, until confirmed",
                baseline: "writers alone \(baseline.rate)",
                result: result.rate, ratio: (result / baseline).text(2), mark: ">= 0.60", isGood: result / baseline >= 0.6)
        }
    }

    private static func withReceiver(_ database: Database, component: String) async throws -> Double {
        try await Receiver.with(component, in: database) { _, _ in
            let start = ContinuousClock.now
            _ = try await Writers.write(events, connections: writers, to: database)
            let last = try await database.number("SELECT max(id) FROM evt_queue")
            while try await database.position(of: component) < last { try await Task.sleep(for: .milliseconds(5)) }
            return (ContinuousClock.now - start).seconds
        }
    }
}
