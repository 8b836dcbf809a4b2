import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamPusher
import LibPQ
import TestSupport
import Testing

/// Ids that the sequence has not given, or gives again.
@Suite(.serialized) struct SequenceTests {
    @Test func aSequenceThatWasSetBackIsRefusedAndSetRight() async throws {
        try await Pipeline.with(configure: beatOften) { pipeline in
            try await pipeline.receiving("ALL") { collector in
                let ids = try await pipeline.record("ONE", ["1", "2", "3"])
                try await eventually("the events") { await collector.count >= 3 }
                try await eventually("the note for writers") { try await mark(pipeline) == ids.last!.rawValue }
                try await TestDatabase.execute("SELECT setval('evt_queue_id_seq', 1, false)", on: pipeline.active)
                // Until the pusher has seen to it; perhaps it already has.
                var refusal = ""
                var next = EventID.none
                try await eventually("an id") {
                    do {
                        next = try await pipeline.record("NEXT")[0]
                    } catch let error as PostgresError {
                        refusal = error.description
                    }
                    return next > .none
                }
                // An id that is there still is refused before.
                #expect(refusal == "" || refusal.contains("stands at") || refusal.contains("duplicate key"))
                #expect(next > ids.last!)
                try await eventually("the next event") { await collector.ids.last == next }
            }
        }
    }

    @Test func withoutAPusherTheDatabaseRefusesWhatWouldReachNobody() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.run([.pusher], configure: beatOften) {
                let id = try await pipeline.record("ONE", ["1", "2"])[1]
                try await eventually("the note for writers") { try await mark(pipeline) == id.rawValue }
            }
            try await TestDatabase.execute("SELECT setval('evt_queue_id_seq', 1, false)", on: pipeline.active)
            // Not the id that is there: the one before, which is free.
            try await TestDatabase.execute("DELETE FROM evt_queue", on: pipeline.active)
            let error = await failure { try await pipeline.record("LATE") }
            #expect(error.contains("events up to 2 have been delivered"))
            #expect(try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: pipeline.active) == 0)
        }
    }

    @Test func anIdGivenByHandHidesNoneThatIsDrawnLater() async throws {
        try await Pipeline.with { pipeline in
            try await pipeline.receiving("ALL") { collector in
                try await pipeline.record("FIRST")
                try await eventually("the first") { await collector.count == 1 }
                try await TestDatabase.execute(
                    "INSERT INTO evt_queue (id, type, data) VALUES (5000, 'BY_HAND', 'null')", on: pipeline.active)
                try await pipeline.record("DRAWN")
                try await eventually("both") { await collector.count >= 3 }
                let later = try await pipeline.record("LATER")[0]
                #expect(later > EventID(5000))
                try await eventually("the later one") { await collector.ids.last == later }
                let ids = await collector.ids
                #expect(ids == ids.sorted() && ids.contains(EventID(5000)))
            }
        }
    }

    @Test func applicationsCannotGiveIds() async throws {
        try await Pipeline.with([]) { pipeline in
            let role = "evt_app_\(UInt64.random(in: 0...UInt64.max))"
            try await TestDatabase.execute(
                """
                CREATE ROLE \(role);
                GRANT INSERT (type, data, ts) ON evt_queue TO \(role);
                GRANT USAGE ON SEQUENCE evt_queue_id_seq TO \(role);
                """, on: pipeline.active)
            let insert = "SET ROLE \(role); INSERT INTO evt_queue"
            try await TestDatabase.execute("\(insert) (type, data) VALUES ('DRAWN', 'null')", on: pipeline.active)
            for override in ["", "OVERRIDING SYSTEM VALUE"] {
                let error = await failure {
                    try await TestDatabase.execute(
                        "\(insert) (id, type, data) \(override) VALUES (5000, 'GIVEN', 'null')", on: pipeline.active)
                }
                #expect(error.contains("permission denied"), "\(override)")
            }
            try await TestDatabase.execute("DROP OWNED BY \(role); DROP ROLE \(role)", on: pipeline.active)
        }
    }

    /// What a receiver has been told of must not vanish in a crash.
    @Test func aTransactionThatRecordsEventsWaitsForTheDisk() async throws {
        try await Pipeline.with([]) { pipeline in
            for setting in ["off", "local", "on", "remote_apply"] {
                let seen = try await TestDatabase.connected(to: pipeline.active) { connection in
                    try await connection.query("BEGIN")
                    try await connection.query(Statement("SET LOCAL synchronous_commit = \(setting)"))
                    try await connection.query("SELECT evt_add('ONE', 'null')")
                    let rows = try await connection.query("SHOW synchronous_commit")
                    try await connection.query("COMMIT")
                    return rows.string(0, 0)
                }
                #expect(seen == (setting == "remote_apply" ? "remote_apply" : "on"))
            }
        }
    }

    private func beatOften(_ pusher: inout Pusher.Configuration) { pusher.sessionTimeout = .seconds(1) }

    private func mark(_ pipeline: Pipeline) async throws -> Int64 {
        Int64(try await TestDatabase.number("SELECT last_value FROM evt_queue_settled", on: pipeline.active))
    }

    private func failure(_ body: () async throws -> Void) async -> String {
        do {
            try await body()
            return "nothing failed"
        } catch {
            return "\(error)"
        }
    }
}
