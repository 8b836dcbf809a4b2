import EventStream
import EventStreamClient
import TestSupport
import Testing

/// The way into the warehouse and out of the active table.
@Suite(.serialized) struct ArchiveTests {
    @Test func eventsGoToTheArchiveAndLeaveTheActiveTable() async throws {
        try await Pipeline.with([.pusher, .archiver, .discarder]) { pipeline in
            let data = ["1.50", "{\"b\":1, \"a\":2}", "\"\\u0000 \\ud800 é\\\\\\n\"", "12345678901234567890123", "null"]
            try await pipeline.record("EXACT", data)
            let expected = try await TestDatabase.rows("SELECT * FROM (SELECT 1) x WHERE false", on: pipeline.active)
            #expect(expected.isEmpty)
            try await eventually("the archive") { try await pipeline.archived() == 5 }
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

    @Test func anotherEventUnderTheSameIdStopsTheArchiverBeforeItWritesAnything() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("MINE", ["1", "2"])
            try await TestDatabase.execute("INSERT INTO evt_history VALUES (2, 'OTHER', '9', now())", on: pipeline.warehouse)
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

    @Test func severalRunsArchiveEveryEventOnce() async throws {
        try await Pipeline.with([]) { pipeline in
            for round in 1...4 {
                try await pipeline.run([.pusher, .archiver]) {
                    try await pipeline.record("RUN", Array(repeating: "0", count: 700))
                    if round.isMultiple(of: 2) {
                        try await eventually("the archive") { try await pipeline.archived() == round * 700 }
                    }
                }
            }
            #expect(try await TestDatabase.number("SELECT count(DISTINCT id) FROM evt_history", on: pipeline.warehouse) == 2800)
        }
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

    @Test func theSlowestConsumerHoldsEventsBack() async throws {
        try await Pipeline.with([.pusher, .discarder]) { pipeline in
            let poller = try await pipeline.poller()
            for component in ["FAST", "SLOW"] { try await poller.registerConsumer(component) }
            try await pipeline.record("HELD", Array(repeating: "0", count: 90))
            _ = try await poller.pollEvents("FAST", after: EventID(90))
            _ = try await poller.pollEvents("SLOW", after: EventID(40))
            try await eventually("the discard") { try await pipeline.backlog() == 50 }
            try await TestDatabase.execute("DELETE FROM evt_consumers WHERE ident = 'local:SLOW'", on: pipeline.active)
            try await eventually("the rest") { try await pipeline.backlog() == 0 }
        }
    }
}
