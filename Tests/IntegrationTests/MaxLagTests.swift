import EventStream
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamPusher
import LibPQ
import TestSupport
import Testing

/// A consumer that is further behind than the maximum lag keeps nobody's events.
@Suite(.serialized) struct MaxLagTests {
    private let segment = 1 << 17

    /// So many events, beginning with this id, and all of them archived.
    private func archive(_ count: Int, from ids: [Int], _ pipeline: Pipeline) async throws {
        for id in ids {
            _ = try await TestDatabase.number("SELECT setval('evt_queue_id_seq', \(id), false)", on: pipeline.active)
            try await pipeline.record("KEPT", (0..<count).map { "\($0)" })
        }
        let newest = ids.last! + count - 1
        try await pipeline.run([.pusher, .archiver]) {
            try await eventually("the archive") { try await pipeline.position(of: "ARCHIVER") == newest }
        }
        // As the next sign of life notes it.
        try await TestDatabase.execute("UPDATE evt_queue_state SET settled = \(newest)", on: pipeline.active)
    }

    private func add(_ consumer: String, at position: Int, _ pipeline: Pipeline) async throws {
        try await TestDatabase.execute(
            "INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:\(consumer)', \(position))", on: pipeline.active)
    }

    private func discard(_ maxLag: MaxLag?, _ pipeline: Pipeline, _ body: () async throws -> Void) async throws {
        try await pipeline.run(
            [.discarder],
            discarder: {
                $0.required = [pipeline.required()]
                $0.maxLag = maxLag
            }, body)
    }

    private func first(_ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number("SELECT min(id) FROM evt_queue", on: pipeline.active)
    }

    private func discarded(_ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number("SELECT discarded FROM evt_queue_state", on: pipeline.active)
    }

    /// What the status says of a consumer.
    private func status(_ consumer: String, _ pipeline: Pipeline) async throws -> StreamStatus.Consumer {
        let status = try await TestDatabase.connected(to: TestDatabase.url(pipeline.active, as: .monitor)) { connection in
            try await StreamStatus.load(try await StreamInfo.load(.standard, from: connection), from: connection)
        }
        return try #require(status.consumers.first { $0.consumer == "local:\(consumer)" })
    }

    @Test func rowsThatAStuckConsumerHasNotConfirmedGo() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(100, from: [1], pipeline)
            try await add("STUCK", at: 5, pipeline)
            try await add("NEAR", at: 80, pipeline)
            try await discard(.events(30), pipeline) {
                try await eventually("the discard") { try await discarded(pipeline) >= 80 }
            }
            #expect(try await first(pipeline) == 81)
            let (stuck, near) = (try await status("STUCK", pipeline), try await status("NEAR", pipeline))
            #expect(stuck.readsArchive && stuck.archiveIDs == 75 && stuck.held.events == 0 && stuck.holdsAfter == nil)
            #expect(!near.readsArchive && near.held.events == 20 && near.holdsAfter == EventID(80))
            #expect(try await !status("ARCHIVER", pipeline).readsArchive)
            #expect(try await pipeline.archived() == 100)
            #expect(try await pipeline.verify().findings.isEmpty)
        }
    }

    @Test func `without a required archive the status shows that each consumer holds all its events`() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(100, from: [1], pipeline)
            try await add("STUCK", at: 5, pipeline)
            try await add("NEAR", at: 80, pipeline)
            try await discard(.events(30), pipeline) {
                try await eventually("the discard") { try await discarded(pipeline) >= 80 }
            }
            #expect(try await status("STUCK", pipeline).holdsAfter == nil)
            try await pipeline.run([.discarder]) {
                try await eventually("what it holds") { try await status("STUCK", pipeline).holdsAfter == EventID(5) }
                #expect(try await status("NEAR", pipeline).holdsAfter == EventID(80))
            }
            #expect(try await first(pipeline) == 81)
            // Required again, the archive counts once it has been compared again.
            try await discard(.events(30), pipeline) {
                try await eventually("the comparison") { try await status("STUCK", pipeline).holdsAfter == nil }
            }
        }
    }

    @Test func segmentsThatAStuckConsumerHasNotConfirmedAreEmptied() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(50, from: [1000, segment + 1000, 3 * segment + 1000], pipeline)
            try await add("STUCK", at: 1010, pipeline)
            let file = "SELECT pg_relation_filenode('evt_queue_0'), pg_relation_filenode('evt_queue_1')"
            let before = try await TestDatabase.rows(file, on: pipeline.active)
            // Within the lag, all stays.
            try await discard(.events(Int64(4 * segment)), pipeline) {
                try await eventually("the first events") { try await discarded(pipeline) == 1010 }
                #expect(try await status("STUCK", pipeline).held.events == 139)
            }
            #expect(try await first(pipeline) == 1011)
            try await discard(.events(Int64(segment)), pipeline) {
                try await eventually("empty segments") {
                    let now = try await TestDatabase.rows(file, on: pipeline.active)
                    return zip(before[0], now[0]).allSatisfy { $0 != $1 }
                }
                try await eventually("the rest") { try await pipeline.backlog() == 0 }
            }
            #expect(try await pipeline.archived() == 150)
            #expect(try await pipeline.verify().findings.isEmpty)
        }
    }

    /// - Returns: how the discarder is set.
    private func set(_ consumer: String, to maxLag: MaxLag?, _ pipeline: Pipeline) async throws -> String? {
        try await TestDatabase.connected(to: TestDatabase.url(pipeline.active, as: .pusher)) { connection in
            try await MaxLagStore(try await StreamInfo.load(.standard, from: connection)).set(
                "local:\(consumer)", to: maxLag, on: connection)
        }
    }

    @Test func eventsThatCouldBeDeliveredLongAgoGo() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(100, from: [1], pipeline)
            try await TestDatabase.execute(
                """
                DELETE FROM evt_queue_marks;
                INSERT INTO evt_queue_marks SELECT id, now() - age, now() - age
                    FROM (VALUES (40, interval '3 hours'), (60, '2 hours'), (100, '0')) m (id, age)
                """, on: pipeline.active)
            try await add("STUCK", at: 5, pipeline)
            try await add("NEAR", at: 80, pipeline)
            try await discard(.time(.seconds(86_400)), pipeline) {
                try await eventually("the first events") { try await discarded(pipeline) == 5 }
            }
            try await discard(.time(.seconds(3600)), pipeline) {
                try await eventually("the discard") { try await discarded(pipeline) == 80 }
                try await eventually("the note") {
                    try await TestDatabase.rows("SELECT max_lag FROM evt_queue_state", on: pipeline.active) == [["1h"]]
                }
            }
            #expect(try await first(pipeline) == 81)
        }
    }

    @Test func beyondTheLagTheNewestEventsAreHeldUntilTheRestIsGone() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(100, from: [1], pipeline)
            try await add("STUCK", at: 5, pipeline)
            // As a discarder would have noted it that has not got there yet.
            try await TestDatabase.execute(
                "UPDATE evt_queue_state SET max_lag = '30'; UPDATE evt_consumers SET verified_evt_id = 1, verified_all = true WHERE ident = 'local:ARCHIVER'",
                on: pipeline.active)
            let stuck = try await status("STUCK", pipeline)
            #expect(stuck.lag.events == 95 && stuck.held.events == 30 && stuck.holdsAfter == EventID(70) && !stuck.readsArchive)
        }
    }

    @Test func whatCountsIsWhatAConsumerHasOfItsOwn() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(100, from: [1], pipeline)
            for name in ["HOLDS", "STUCK"] { try await add(name, at: 5, pipeline) }
            #expect(try await set("HOLDS", to: .unlimited, pipeline) == nil)
            let unknown = await #expect(throws: StoreError.self) { try await set("NOBODY", to: .events(1), pipeline) }
            #expect(unknown?.message == "there is no consumer local:NOBODY")
            let archiver = await #expect(throws: StoreError.self) { try await set("ARCHIVER", to: .events(1), pipeline) }
            #expect(archiver?.message.contains("is an archiver") == true)
            try await discard(.events(10), pipeline) {
                try await eventually("the first events") { try await discarded(pipeline) == 5 }
                try await Task.sleep(for: .milliseconds(500))
                #expect(try await first(pipeline) == 6)
                #expect(try await status("HOLDS", pipeline).maxLag == .unlimited)
                #expect(try await set("HOLDS", to: .time(.seconds(3600)), pipeline) == "10")
                #expect(try await status("HOLDS", pipeline).maxLag == .time(.seconds(3600)))
                try await Task.sleep(for: .milliseconds(500))
                #expect(try await first(pipeline) == 6)
                #expect(try await set("HOLDS", to: .events(40), pipeline) == "10")
                try await eventually("what is beyond its own") { try await discarded(pipeline) >= 60 }
                // Then it holds nothing at all.
                try await eventually("the rest") { try await pipeline.backlog() == 0 }
            }
        }
    }

    @Test func aConsumerHoldsAgainOnceItHasCaughtUp() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(60, from: [1], pipeline)
            try await add("STUCK", at: 5, pipeline)
            try await add("FAST", at: 30, pipeline)
            try await discard(.events(35), pipeline) {
                try await eventually("the discard") { try await discarded(pipeline) == 30 }
                #expect(try await status("STUCK", pipeline).readsArchive)
                try await TestDatabase.execute(
                    "UPDATE evt_consumers SET last_evt_id = 40 WHERE ident = 'local:STUCK'", on: pipeline.active)
                try await TestDatabase.execute(
                    "UPDATE evt_consumers SET last_evt_id = 60 WHERE ident = 'local:FAST'", on: pipeline.active)
                try await eventually("its events") { try await discarded(pipeline) == 40 }
                #expect(try await pipeline.backlog() == 20)
                #expect(try await status("STUCK", pipeline).held.events == 20)
            }
        }
    }

    @Test func archiversHoldWhateverTheirLag() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(100, from: [1], pipeline)
            // It has archived before; that nobody requires it does not matter.
            try await add("COLD", at: 20, pipeline)
            try await TestDatabase.execute(
                "INSERT INTO evt_queue_archives (ident, token) VALUES ('local:COLD', gen_random_uuid())", on: pipeline.active)
            try await discard(.events(10), pipeline) {
                try await eventually("the discard") { try await discarded(pipeline) == 20 }
                try await Task.sleep(for: .milliseconds(500))
            }
            #expect(try await pipeline.backlog() == 80)
        }
    }

    @Test func nothingGoesThatTheArchiveLacks() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(100, from: [1], pipeline)
            try await add("STUCK", at: 5, pipeline)
            try await TestDatabase.execute("DELETE FROM evt_history WHERE id = 50", on: pipeline.warehouse)
            try await discard(.events(10), pipeline) {
                try await eventually("a refusal") { try await pipeline.refusal()?.contains("lacks 1: 50") == true }
                try await Task.sleep(for: .milliseconds(500))
            }
            #expect(try await discarded(pipeline) < 50)
            #expect(try await TestDatabase.number("SELECT count(*) FROM evt_queue WHERE id > 49", on: pipeline.active) == 51)
        }
    }

    @Test func withoutARequiredArchiveEveryConsumerHolds() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(100, from: [1], pipeline)
            try await add("STUCK", at: 5, pipeline)
            try await pipeline.run([.discarder], discarder: { $0.maxLag = .events(10) }) {
                try await eventually("the discard") { try await discarded(pipeline) == 5 }
                try await Task.sleep(for: .milliseconds(500))
            }
            #expect(try await pipeline.backlog() == 95)
            #expect(try await TestDatabase.rows("SELECT max_lag FROM evt_queue_state", on: pipeline.active) == [[nil]])
        }
    }

    @Test func aRegistrationIsWaitedForAndThenJudgedLikeAnyOther() async throws {
        try await Pipeline.with([]) { pipeline in
            try await archive(50, from: [1000], pipeline)
            try await TestDatabase.connected(to: pipeline.active) { connection in
                try await connection.query("BEGIN")
                try await connection.query(
                    "INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:FAR', 1010), ('local:NEAR', 1045)")
                try await discard(.events(20), pipeline) {
                    try await eventually("a discarder that waits") {
                        try await TestDatabase.number(
                            """
                            SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                            """, on: pipeline.active) > 0
                    }
                    #expect(try await pipeline.backlog() == 50)
                    try await connection.query("COMMIT")
                    try await eventually("the discard") { try await discarded(pipeline) == 1045 }
                }
            }
            #expect(try await first(pipeline) == 1046)
        }
    }

    @Test func whoRegistersWhileEventsAreDiscardedIsSureOfWhatFollows() async throws {
        try await Pipeline.with([]) { pipeline in
            // About 65 ids a segment.
            try await TestDatabase.execute("ALTER SEQUENCE evt_queue_id_seq INCREMENT BY 2000", on: pipeline.active)
            let load = WriterLoad(writers: 2, seed: 3, idle: 8)
            try await pipeline.run(
                [.pusher, .archiver, .discarder], configure: { $0.sessionTimeout = .seconds(1) },
                discarder: {
                    $0.required = [pipeline.required()]
                    $0.maxLag = .events(40 * 2000)
                    $0.limitAtOnce = 10
                }
            ) {
                try await load.run(on: pipeline.active) {
                    try await eventually("an archiver") { try await pipeline.archived() > 0 }
                    try await TestDatabase.connected(to: pipeline.active) { connection in
                        for number in 0..<30 {
                            try await connection.query("BEGIN")
                            let position = try await connection.query(
                                Statement("INSERT INTO evt_consumers (ident) VALUES ('local:NEW\(number)') RETURNING last_evt_id")
                            ).int(0, 0)
                            let discarded = try await connection.query("SELECT discarded FROM evt_queue_state").int(0, 0)
                            #expect(position == discarded)
                            try await connection.query("COMMIT")
                            try await Task.sleep(for: .milliseconds(20))
                        }
                    }
                    // None of them moves, and the ring comes round.
                    let before = try await pipeline.archived()
                    try await eventually("events") { try await pipeline.archived() >= before + 600 }
                }
                try await eventually("the end") { try await pipeline.backlog() == 0 }
            }
            #expect(try await pipeline.verify().findings.isEmpty)
        }
    }
}
