import Dispatch
import EventStream
import EventStreamClient
import Glibc
import Synchronization

/// Workers that share the slices of a consumer, against one of them.
enum SlicesMeasure {
    /// Events that are not processed yet.
    private final class Left: Sendable { let count = Atomic(events) }

    private static let (events, keys, slices, workers) = (8000, 400, 8, 4)

    static func row(_ server: String, runs: Int) async throws -> Row {
        let (one, shared) = try await Database.with(server) { database in
            try await PusherProcess.with(database) { pusher in
                try await medians(of: runs) { run in
                    (
                        try await seconds(database, pusher, "ONE\(run)", workers: 1),
                        try await seconds(database, pusher, "ALL\(run)", workers: workers)
                    )
                }
            }
        }
        let (baseline, result) = (Double(events) / one, Double(events) / shared)
        return Row(
            measure: "\(slices) slices, \(workers) workers, 1 ms of work an event", baseline: "one worker \(baseline.rate)",
            result: result.rate, ratio: (result / baseline).text(2), mark: ">= 3.50", isGood: result / baseline >= 3.5)
    }

    /// How long the events take, once all slices are served.
    private static func seconds(
        _ database: Database, _ pusher: PusherProcess, _ component: String, workers: Int
    ) async throws -> Double {
        let left = Left()
        var configuration = ReceiverConfiguration(endpoints: [pusher.endpoint])
        configuration.start = .now
        let receivers = try (0..<workers).map { _ in
            try SlicedReceiver(component, slices: slices, atMost: slices / workers, configuration)
        }
        return try await withThrowingTaskGroup(of: Void.self) { group in
            for receiver in receivers {
                // A worker works on one event at a time, whichever slice the event is of.
                let queue = DispatchQueue(label: "worker")
                group.addTask {
                    try await receiver.forEach { _ in
                        await withCheckedContinuation { continuation in
                            queue.async {
                                usleep(1000)
                                continuation.resume()
                            }
                        }
                        left.count.subtract(1, ordering: .relaxed)
                    }
                }
            }
            try await database.wait(
                until: """
                    (SELECT count(*) = \(slices) FROM evt_consumers
                    WHERE starts_with(ident, 'local:\(component)/') AND session_owner IS NOT NULL)
                    """, while: [])
            let start = ContinuousClock.now
            try await database.execute(
                "SELECT count(evt_add('BENCH', '{}', key => 'key ' || n % \(keys))) FROM generate_series(1, \(events)) n")
            while left.count.load(ordering: .relaxed) > 0 { try await Task.sleep(for: .milliseconds(5)) }
            group.cancelAll()
            return (ContinuousClock.now - start).seconds
        }
    }
}
