import EventStream
import EventStreamClient
import EventStreamPusher

/// How often an event is read from the table, however many receivers are at the head.
enum HeadsMeasure {
    private static let events = 20_000

    static func rows(_ server: String, runs: Int) async throws -> [Row] {
        var baseline = 0.0
        var rows: [Row] = []
        for receivers in [1, 10, 50] {
            var counts: [Double] = []
            for _ in 0..<runs { counts.append(try await rowsRead(server, receivers: receivers)) }
            if receivers == 1 { baseline = counts.median }
            let ratio = counts.median / baseline
            rows.append(
                Row(
                    measure:
                        "rows read for \(events / 1000)k events, \(receivers) receiver\(receivers == 1 ? "" : "s") at the head",
                    baseline: "one receiver \((baseline / 1000).text(1))k", result: "\((counts.median / 1000).text(1))k",
                    ratio: ratio.text(2), mark: "<= 1.10", isGood: ratio <= 1.1))
        }
        return rows
    }

    private static func rowsRead(_ server: String, receivers count: Int) async throws -> Double {
        try await Database.with(server) { database in
            for number in 0..<count { try await database.register("HEAD\(number)") }
            try await PusherProcess.with(database) { pusher in
                let receivers = try (0..<count).map { try Receiver("HEAD\($0)", pusher.endpoint) }
                for receiver in receivers {
                    try await receiver.start()
                    await receiver.waitUntilReady()
                }
                try await database.execute("SELECT pg_stat_reset()")
                _ = try await Writers.write(events, connections: 2, to: database)
                for receiver in receivers { await receiver.wait(for: events) }
                for receiver in receivers { await receiver.stop() }
            }
            // A backend reports what it has read at its end at the latest, and the pusher is gone.
            let counted = """
                SELECT sum(COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables
                WHERE relname LIKE 'evt\\_queue\\__'
                """
            var known = -1
            while true {
                let now = try await database.number(counted)
                if now == known, now >= events { return Double(now) }
                known = now
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }
}
