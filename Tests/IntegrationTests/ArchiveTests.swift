import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamDiscarder
import TestSupport
import Testing

/// The way into the warehouse and out of the active table.
@Suite(.serialized) struct ArchiveTests {
    @Test func eventsGoToTheArchiveAndLeaveTheActiveTable() async throws {
        try await Pipeline.with([.pusher, .archiver, .discarder]) { pipeline in
            let data = [
                "1.50", "{\"b\":1, \"a\":2}", "\"\\u0000 \\ud800 é\\\\\\n\"", "12345678901234567890123", "null", " 1", "1\t",
                "\n [ 1 ] ",
            ]
            try await pipeline.record("EXACT", data)
            try await eventually("the archive") { try await pipeline.archived() == data.count }
            try await eventually("the discard") { try await pipeline.backlog() == 0 }
            let rows = try await TestDatabase.rows("SELECT data::text FROM evt_history ORDER BY id", on: pipeline.warehouse)
            #expect(rows.map { $0[0]! } == data)
        }
    }

    @Test func theArchivedRowIsTheRecordedOneToTheMicrosecond() async throws {
        try await Pipeline.with([.pusher, .archiver]) { pipeline in
            try await pipeline.record("TS", Array(repeating: "0", count: 500))
            let recorded = try await TestDatabase.rows(
                "SELECT id, type, data, ts FROM evt_queue ORDER BY id", on: pipeline.active)
            try await eventually("the archive") { try await pipeline.archived() == 500 }
            let archived = try await TestDatabase.rows(
                "SELECT id, type, data, ts FROM evt_history ORDER BY id", on: pipeline.warehouse)
            #expect(archived == recorded)
        }
    }

    @Test func anEventThatIsThereAlreadyIsAcceptedIfItIsTheSame() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("DUP", ["{\"a\": 1}", "2", "3"])
            let ts = try await TestDatabase.rows(
                "SELECT date_trunc('second', ts) FROM evt_queue ORDER BY id", on: pipeline.active)
            // As the seed's archiver wrote it: whole seconds, JSON written anew.
            try await TestDatabase.execute(
                "INSERT INTO evt_history VALUES (1, 'DUP', '{\"a\":1}', '\(ts[0][0]!)')", on: pipeline.warehouse)
            try await pipeline.run([.pusher, .archiver]) {
                try await eventually("the archive") { try await pipeline.archived() == 3 }
                try await eventually("the position") { try await pipeline.position(of: "ARCHIVER") == 3 }
            }
        }
    }

    /// Also one with a time of another month, in another partition: another stream's.
    @Test(arguments: ["'OTHER', '9', now()", "'MINE', '2', '2001-01-01'"])
    func anotherEventUnderTheSameIdStopsTheArchiverBeforeItWritesAnything(other: String) async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("MINE", ["1", "2"])
            try await TestDatabase.execute("INSERT INTO evt_history VALUES (2, \(other))", on: pipeline.warehouse)
            try await pipeline.run([.pusher, .archiver]) {
                try await eventually("a session") {
                    try await TestDatabase.number(
                        "SELECT count(*) FROM evt_consumers WHERE session_owner IS NOT NULL", on: pipeline.active) == 1
                }
                // The operator removes the wrong row; the archiver goes on by itself.
                #expect(try await pipeline.archived() == 1)
                try await TestDatabase.execute("DELETE FROM evt_history", on: pipeline.warehouse)
                try await eventually("the archive") { try await pipeline.archived() == 2 }
            }
        }
    }

    @Test func aWarehouseThatWentBackGetsWhatItLacks() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.run([.pusher, .archiver]) {
                try await pipeline.record("OLD", (1...400).map { "\($0)" })
                try await eventually("the position") { try await pipeline.position(of: "ARCHIVER") == 400 }
                // An older state of it is restored; whoever was connected is not any more.
                try await TestDatabase.execute(
                    """
                    DELETE FROM evt_history WHERE id > 150; UPDATE evt_history_positions SET last_evt_id = 150;
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()
                    """, on: pipeline.warehouse)
                try await pipeline.record("NEW", ["401"])
                try await eventually("the archive") { try await pipeline.archived() == 401 }
            }
            // The same, and the archiver starts later.
            try await TestDatabase.execute(
                "DELETE FROM evt_history WHERE id > 7; UPDATE evt_history_positions SET last_evt_id = 7", on: pipeline.warehouse)
            try await pipeline.run([.pusher, .archiver]) {
                try await pipeline.record("NEW", ["402"])
                try await eventually("the archive") { try await pipeline.archived() == 402 }
                #expect(try await pipeline.verify().summary == .init(verified: 402, wrong: 0))
            }
        }
    }

    @Test(arguments: ["\"\\u0000\"", "\"\\ud800\"", "1e999999"])
    func whatCannotBeComparedIsNamed(_ data: String) async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("ODD", [data, "2"])
            // The same value, written in another way, that jsonb cannot hold.
            try await TestDatabase.execute(
                "INSERT INTO evt_history SELECT 1, 'ODD', ' \(data)'::json, '\(try await ts(pipeline))'", on: pipeline.warehouse)
            try await TestDatabase.connected(to: pipeline.warehouse) { connection in
                let store = try await HistoryStore.load(.standard, archiver: pipeline.required().consumer, from: connection)
                let standing = try await store.begin(.all, on: connection)
                let event = Event(
                    id: EventID(1), type: EventType("ODD")!, data: try RawJSON(data),
                    timestamp: EventTimestamp(microseconds: Int64(try await micros(pipeline))))
                do {
                    _ = try await store.append([event], from: standing, comparing: true, on: connection)
                    Issue.record("it was taken")
                } catch let error as StoreError {
                    #expect(error.message.contains("under the ids 1:"))
                }
            }
        }
    }

    private func ts(_ pipeline: Pipeline) async throws -> String {
        try await TestDatabase.rows("SELECT ts FROM evt_queue WHERE id = 1", on: pipeline.active)[0][0]!
    }

    private func micros(_ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number(
            "SELECT (EXTRACT(EPOCH FROM ts) * 1000000)::bigint FROM evt_queue WHERE id = 1", on: pipeline.active)
    }

    @Test func withoutConsumersNothingIsDiscarded() async throws {
        try await Pipeline.with([.pusher, .discarder]) { pipeline in
            try await pipeline.record("KEEP", ["1", "2"])
            let poller = try await pipeline.poller()
            #expect(try await poller.pollEvents("LIVE", after: nil).count == 2)
            // A registered consumer that has confirmed one of them lets that one go, and only that one.
            try await poller.registerConsumer("SLOW")
            #expect(try await pipeline.backlog() == 2)
            _ = try await poller.pollEvents("SLOW", after: EventID(1))
            try await eventually("the discard") { try await pipeline.backlog() == 1 }
            #expect(try await poller.pollEvents("SLOW", after: nil).map(\.id.rawValue) == [2])
        }
    }
}
