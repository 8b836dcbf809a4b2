import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamPusher
import LibPQ
import TestSupport
import Testing

/// How long events have waited: since they could be delivered, whatever time they were recorded with.
@Suite(.serialized) struct LagTests {
    private func status(_ pipeline: Pipeline) async throws -> StreamStatus {
        try await TestDatabase.connected(to: TestDatabase.url(pipeline.active, as: .monitor)) { connection in
            try await StreamStatus.load(try await StreamInfo.load(.standard, from: connection), from: connection)
        }
    }

    private func backfill(_ time: String, _ pipeline: Pipeline) async throws {
        try await TestDatabase.execute(
            "INSERT INTO evt_queue (type, data, ts) SELECT 'FILLED', '1', (now() AT TIME ZONE 'UTC') + interval '\(time)' "
                + "FROM generate_series(1, 100)", on: pipeline.active)
    }

    private func isSettled(_ pipeline: Pipeline) async throws -> Bool {
        try await TestDatabase.number(
            "SELECT count(*) FROM evt_queue_state WHERE settled = (SELECT max(id) FROM evt_queue)", on: pipeline.active) == 1
    }

    @Test(arguments: ["-8 years", "1 year", "-200 years", "7000 years"])
    func aBackfillWaitsSinceItWasRecorded(time: String) async throws {
        try await Pipeline.with([.pusher], configure: { $0.sessionTimeout = .seconds(1) }) { pipeline in
            try await TestDatabase.execute("INSERT INTO evt_consumers (ident) VALUES ('local:WAITS')", on: pipeline.active)
            try await pipeline.record("BEFORE")
            try await eventually("the first event") { try await isSettled(pipeline) }
            let begun = ContinuousClock.now
            try await backfill(time, pipeline)
            // Not known to have been settled yet, and then known.
            for _ in 0..<2 {
                let found = try await status(pipeline)
                let consumer = try #require(found.consumers.first)
                #expect(consumer.lag.events == 101)
                try await TestDatabase.execute("UPDATE evt_consumers SET last_evt_id = 1", on: pipeline.active)
                let behind = try #require(try await status(pipeline).consumers.first)
                // A sign of life may be some seconds old.
                let bound = (ContinuousClock.now - begun) / .seconds(1) + 30
                #expect(behind.lag.seconds < bound && behind.held.seconds < bound, "\(behind.lag.seconds)")
                try await TestDatabase.execute("UPDATE evt_consumers SET last_evt_id = 0", on: pipeline.active)
                try await eventually("the backfill") { try await isSettled(pipeline) }
            }
            try await TestDatabase.execute("UPDATE evt_consumers SET last_evt_id = 1", on: pipeline.active)
            let first = try #require(try await status(pipeline).consumers.first).lag.seconds
            try await eventually("more than before") {
                let now = try await status(pipeline).consumers.first?.lag.seconds ?? 0
                return now > first && now > 0
            }
        }
    }

    @Test func anOrdinaryEventsAgeIsWhatItWas() async throws {
        try await Pipeline.with([.pusher], configure: { $0.sessionTimeout = .seconds(1) }) { pipeline in
            try await TestDatabase.execute("INSERT INTO evt_consumers (ident) VALUES ('local:WAITS')", on: pipeline.active)
            try await pipeline.record("ORDINARY")
            for _ in 0..<2 {
                let age = "SELECT EXTRACT(EPOCH FROM clock_timestamp() AT TIME ZONE 'UTC' - ts) * 1000 FROM evt_queue"
                func milliseconds() async throws -> Double {
                    Double(try await TestDatabase.rows(age, on: pipeline.active)[0][0]!)!
                }
                let before = try await milliseconds()
                let lag = try #require(try await status(pipeline).consumers.first).lag.seconds * 1000
                let after = try await milliseconds()
                #expect(lag >= before - 1 && lag <= after + 1, "\(before) \(lag) \(after)")
                try await eventually("the mark") { try await isSettled(pipeline) }
            }
        }
    }

    @Test func whatWasThereBeforeAnyoneLookedKeepsItsTimes() async throws {
        try await Pipeline.with([]) { pipeline in
            try await TestDatabase.execute("INSERT INTO evt_consumers (ident) VALUES ('local:WAITS')", on: pipeline.active)
            try await backfill("-1 hour", pipeline)
            try await TestDatabase.execute(
                "UPDATE evt_queue_marks SET id = 100; UPDATE evt_queue_state SET settled = 100", on: pipeline.active)
            let lag = try #require(try await status(pipeline).consumers.first).lag.seconds
            #expect(lag >= 3600 && lag < 3700)
        }
    }

    @Test func marksStayFew() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute(
                """
                INSERT INTO evt_queue_marks SELECT n * 10, now() - interval '1 day' + n * interval '3 seconds',
                    now() - interval '1 day' + n * interval '3 seconds' FROM generate_series(1, 1000) n;
                UPDATE evt_queue_state SET discarded = 4005
                """, on: url)
            try await TestDatabase.connected(to: TestDatabase.url(url, as: .pusher)) { connection in
                let marks = SettledMarks(try await StreamInfo.load(.standard, from: connection))
                var count = 1001
                for _ in 0..<8 {
                    let result = await withCheckedContinuation { continuation in
                        marks.thinOut(on: connection) { continuation.resume(returning: $0) }
                    }
                    try result.get()
                    let left = try await marks.load(on: connection)
                    #expect(left.count < count || count < 210)
                    // The one before everything that is not discarded stays until another takes its place.
                    #expect(left.last?.id == EventID(10_000))
                    count = left.count
                }
                #expect(count <= 210)
            }
        }
    }

    @Test func ofEveryAgeSomeMarksStay() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute("DELETE FROM evt_queue_marks", on: url)
            // Six hours of signs of life, every three seconds.
            let (rounds, beat) = (72, 3)
            try await TestDatabase.connected(to: url) { connection in
                let marks = SettledMarks(try await StreamInfo.load(.standard, from: connection))
                for round in 0..<rounds {
                    try await connection.script(
                        """
                        INSERT INTO evt_queue_marks SELECT n, t, t FROM generate_series(\(round * 100 + 1), \(round * 100 + 100)) n,
                            LATERAL (SELECT now() - (\(rounds * 100) - n) * interval '\(beat) seconds' AS t) times
                        """)
                    let result = await withCheckedContinuation { continuation in
                        marks.thinOut(on: connection) { continuation.resume(returning: $0) }
                    }
                    try result.get()
                }
                let left = try await connection.query("SELECT count(*) FROM evt_queue_marks").int(0, 0) ?? 0
                #expect(left < 500)
                for minutes in [1, 5, 9, 15, 30, 60, 120, 240, 300] {
                    let found = try await connection.query(
                        Statement(
                            """
                            SELECT EXTRACT(EPOCH FROM now() - max(at))::bigint FROM evt_queue_marks
                            WHERE at <= now() - interval '\(minutes) minutes'
                            """)
                    ).int(0, 0)
                    let age = try #require(found, "none is older than \(minutes) minutes")
                    #expect(Int(age) <= minutes * 60 * 8 / 7 + 2 * beat, "\(minutes) minutes: \(age) s")
                }
            }
        }
    }
}
