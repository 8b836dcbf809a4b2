import EventStream
import EventStreamClient
import Foundation
import LibPQ
import PosixLoop
import Synchronization

/// From the moment COMMIT is sent to the moment the event is in the receiver's hands.
enum LatencyMeasure {
    static func rows(_ server: String, runs: Int) async throws -> [Row] {
        try await Database.with(server) { database in
            try await database.execute("CREATE TABLE plain (n bigint)")
            return try await Receiver.with("LATENCY", in: database) { _, receiver in
                var rows: [Row] = []
                for (rate, writers, seconds) in [(20, 1, 10), (1000, 8, 5)] {
                    var (notified, pushed): ([[Double]], [[Double]]) = ([], [])
                    for _ in 0..<runs {
                        notified.append(try await notify(database, rate: rate, writers: writers, seconds: seconds))
                        pushed.append(try await push(receiver, database, rate: rate, writers: writers, seconds: seconds))
                    }
                    for (part, name, limit) in [(0.5, "p50", 3.0), (0.99, "p99", 5.0)] {
                        let baseline = notified.map { $0.percentile(part) }.median
                        let result = pushed.map { $0.percentile(part) }.median
                        rows.append(
                            Row(
                                measure: "commit to receipt at \(rate) tx/s, \(name)", baseline: "NOTIFY \(baseline.text(2)) ms",
                                result: "\(result.text(2)) ms", ratio: (result / baseline).text(2), mark: "<= \(limit.text(1))",
                                isGood: result / baseline <= limit))
                    }
                }
                return rows
            }
        }
    }

    /// A plain row and a notification straight to a client that listens.
    private static func notify(_ database: Database, rate: Int, writers: Int, seconds: Int) async throws -> [Double] {
        let times = Times()
        return try await database.connected { connection in
            connection.onNotification = { times.arrived(Int($0.payload) ?? -1) }
            try await connection.query("LISTEN bench")
            try await commit(database, rate: rate, writers: writers, seconds: seconds, times) { connection, number in
                try await connection.query(
                    Statement("INSERT INTO plain VALUES ($1::bigint)", name: "bench_plain"), [.int8(Int64(number))])
                try await connection.query(
                    Statement("SELECT pg_notify('bench', $1::bigint::text)", name: "bench_notify"), [.int8(Int64(number))])
            }
            while times.missing > 0 { try await connection.query("SELECT 1") }
            return times.milliseconds
        }
    }

    /// Milliseconds of each event.
    static func push(
        _ receiver: Receiver, _ database: Database, rate: Int, writers: Int, seconds: Int
    ) async throws -> [Double] {
        let times = Times()
        await receiver.onEvent { event in
            let digits = event.data.description.split { !$0.isNumber }.first.flatMap { Int($0) }
            times.arrived(digits ?? -1)
        }
        try await commit(database, rate: rate, writers: writers, seconds: seconds, times) { connection, number in
            try await connection.query(
                Statement("INSERT INTO plain VALUES ($1::bigint)", name: "bench_plain"), [.int8(Int64(number))])
            try await connection.query(
                Statement("SELECT evt_add('BENCH', json_build_object('n', $1::bigint))", name: "bench_add"),
                [.int8(Int64(number))])
        }
        while times.missing > 0 { try await Task.sleep(for: .milliseconds(1)) }
        return times.milliseconds
    }

    /// Commits transactions at an even rate; each with a number of its own.
    private static func commit(
        _ database: Database, rate: Int, writers: Int, seconds: Int, _ times: Times,
        _ work: nonisolated(nonsending) @escaping @Sendable (Connection, Int) async throws -> Void
    ) async throws {
        let start = ContinuousClock.now
        try await withThrowingTaskGroup { group in
            for writer in 0..<writers {
                group.addTask {
                    try await database.connected { connection in
                        for number in stride(from: writer, to: rate * seconds, by: writers) {
                            try await Task.sleep(until: start + .seconds(1) * number / rate, clock: .continuous)
                            try await connection.query(Statement("BEGIN", name: "bench_begin"))
                            try await work(connection, number)
                            times.committing(number)
                            try await connection.query(Statement("COMMIT", name: "bench_commit"))
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}

/// When each transaction was committed, and when its event arrived.
private final class Times: Sendable {
    private struct State {
        var committed: [Int: ContinuousClock.Instant] = [:]
        var arrived: [Int: ContinuousClock.Instant] = [:]
    }
    private let state = Mutex(State())

    func committing(_ number: Int) {
        let now = ContinuousClock.now
        state.withLock { $0.committed[number] = now }
    }

    func arrived(_ number: Int) {
        let now = ContinuousClock.now
        state.withLock { $0.arrived[number] = now }
    }

    var missing: Int { state.withLock { $0.committed.count - $0.arrived.count } }

    var milliseconds: [Double] {
        state.withLock { state in
            state.committed.compactMap { number, time in state.arrived[number].map { ($0 - time).seconds * 1000 } }
        }
    }
}
