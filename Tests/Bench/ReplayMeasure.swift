import EventStream
import EventStreamClient
import LibPQ

/// Archived events to receivers that begin with the first.
enum ReplayMeasure {
    private static let events = 1_000_000

    static func rows(_ server: String, runs: Int) async throws -> [Row] {
        try await Database.with(server) { database in
            try await Database.withWarehouse(server) { warehouse in
                try await archive(database, in: warehouse)
                return [
                    try await rate(database, warehouse, runs: runs), try await latency(database, warehouse, runs: runs),
                    try await memory(database, warehouse),
                ]
            }
        }
    }

    /// As archiver and discarder leave it.
    private static func archive(_ database: Database, in warehouse: Database) async throws {
        let generation = try await database.connected { connection in
            let rows = try await connection.query("SELECT stream, generation FROM evt_queue_state")
            return (stream: rows.string(0, 0) ?? "", id: rows.string(0, 1) ?? "")
        }
        try await warehouse.execute(
            """
            INSERT INTO evt_history (id, type, data, ts)
            SELECT g, 'BENCH', \(Database.data), now() - (\(events) - g) * interval '1 ms' FROM generate_series(1, \(events)) g;
            INSERT INTO evt_history_positions (ident, last_evt_id, stream, generation)
            VALUES ('local:ARCHIVER', \(events), '\(generation.stream)', '\(generation.id)')
            """)
        try await warehouse.execute("VACUUM ANALYZE evt_history")
        try await database.execute(
            "UPDATE evt_queue_state SET settled = \(events), discarded = \(events); SELECT setval('evt_queue_id_seq', \(events))")
        try await database.execute("CHECKPOINT")
    }

    private static func registerFirst(_ component: String, in database: Database) async throws {
        try await database.execute(
            "SET eventstream.position = 'given'; INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:\(component)', 0)")
    }

    private static func rate(_ database: Database, _ warehouse: Database, runs: Int) async throws -> Row {
        let (copied, pushed) = try await medians(of: runs) { run in
            let copied = try await warehouse.connected { connection in
                let start = ContinuousClock.now
                try await connection.copyOut("COPY (SELECT id, type, data, ts FROM evt_history) TO STDOUT") { _ in }
                return (ContinuousClock.now - start).seconds
            }
            try await registerFirst("RATE\(run)", in: database)
            let pushed = try await PusherProcess.with(database, archive: warehouse) { pusher in
                let receiver = try Receiver("RATE\(run)", pusher.endpoint)
                try await receiver.start()
                await receiver.waitUntilReady()
                let start = ContinuousClock.now
                await receiver.wait(for: events)
                let time = (ContinuousClock.now - start).seconds
                await receiver.stop()
                return time
            }
            return (copied, pushed)
        }
        let (baseline, result) = (Double(events) / copied, Double(events) / pushed)
        return Row(
            measure: "1M archived events to one reliable receiver", baseline: "COPY TO STDOUT \(baseline.rate)",
            result: result.rate, ratio: (result / baseline).text(2), mark: ">= 0.40", isGood: result / baseline >= 0.4)
    }

    /// At the head, while another consumer reads all of the archive.
    private static func latency(_ database: Database, _ warehouse: Database, runs: Int) async throws -> Row {
        try await database.execute("CREATE TABLE plain (n bigint)")
        return try await Receiver.with("HEAD", in: database, archive: warehouse) { pusher, receiver in
            var (alone, beside): ([Double], [Double]) = ([], [])
            for run in 0...runs {
                let without = try await LatencyMeasure.push(receiver, database, rate: 200, writers: 2, seconds: 3)
                try await registerFirst("BESIDE\(run)", in: database)
                let replaying = try Receiver("BESIDE\(run)", pusher.endpoint)
                try await replaying.start()
                await replaying.wait(for: 1)
                let with = try await LatencyMeasure.push(receiver, database, rate: 200, writers: 2, seconds: 3)
                await replaying.stop()
                guard run > 0 else { continue }
                alone.append(without.percentile(0.99))
                beside.append(with.percentile(0.99))
            }
            let (baseline, result) = (alone.median, beside.median)
            return Row(
                measure: "commit to receipt at 200 tx/s beside a replay, p99", baseline: "without \(baseline.text(2)) ms",
                result: "\(result.text(2)) ms", ratio: (result / baseline).text(2), mark: "<= 1.50",
                isGood: result / baseline <= 1.5)
        }
    }

    private static func memory(_ database: Database, _ warehouse: Database) async throws -> Row {
        for number in 0..<20 { try await registerFirst("MEMORY\(number)", in: database) }
        let peak = try await PusherProcess.with(database, archive: warehouse) { pusher in
            let receivers = try (0..<20).map { try Receiver("MEMORY\($0)", pusher.endpoint) }
            for receiver in receivers { try await receiver.start() }
            for receiver in receivers { await receiver.wait(for: events / 4) }
            let peak = pusher.process.peakMemory
            for receiver in receivers { await receiver.stop() }
            return peak
        }
        return Row(
            measure: "pusher's memory, 20 consumers read the archive", baseline: "", result: "\(peak.text(0)) MB", ratio: "",
            mark: "< 120 MB", isGood: peak < 120)
    }
}
