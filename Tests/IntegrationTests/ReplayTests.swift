import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamPusher
import EventStreamServer
import TestSupport
import Testing

/// Consumers that begin with events that are discarded, and go on with those that are not.
@Suite(.serialized) struct ReplayTests {
    /// Runs `body` while a pusher that reads the archive runs; the events 1 to 300 are archived and discarded.
    private func discarded(
        archive: Bool = true, configure: (inout Pusher.Configuration) -> Void = { _ in }, _ body: (Pipeline) async throws -> Void
    ) async throws {
        try await Pipeline.with([]) { pipeline in
            for number in 0..<3 {
                try await pipeline.record(number == 1 ? "ODD" : "EVEN", (1...100).map { "\(number * 100 + $0)" })
            }
            try await pipeline.run([.pusher, .archiver, .discarder], discarder: { $0.required = [pipeline.required()] }) {
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
            }
            try await pipeline.run([.pusher]) {
                $0.archive = archive ? ArchiveConfiguration(url: TestDatabase.url(pipeline.warehouse, as: .pusher)) : nil
                configure(&$0)
            } _: {
                try await body(pipeline)
            }
        }
    }

    private func poll(_ poller: PollClient, _ component: String, until last: Int64) async throws -> [Event] {
        var events: [Event] = []
        while events.last?.id.rawValue != last {
            events += try await poller.pollEvents(component, after: events.last?.id)
        }
        return events
    }

    @Test func `a consumer that begins with the first event gets history, then what is recorded`() async throws {
        try await discarded { pipeline in
            try await pipeline.record("EVEN", ["301", "302"])
            try await pipeline.receiving("ALL") {
                $0.start = .first
                $0.precise = true
            } _: { all in
                try await eventually("history") { await all.count == 302 }
                try await pipeline.record("EVEN", ["303"])
                try await eventually("the present") { await all.count == 303 }
                let events = await all.events
                #expect(events.map(\.id.rawValue) == Array(1...303))
                #expect(events.map(\.data.description) == (1...303).map(String.init))
                #expect(events.allSatisfy { $0.timestamp > events[0].timestamp || $0.id == EventID(1) })
            }
            try await eventually("the position") { try await pipeline.position(of: "ALL") == 303 }
            try await pipeline.receiving("ODD", want: ["ODD"], configure: { $0.start = .first }) { odd in
                try await eventually("what is wanted") { await odd.count == 100 }
                #expect(await odd.ids.map(\.rawValue) == Array(101...200))
            }
            let poller = try await pipeline.poller()
            try await poller.registerConsumer("POLLS", start: .first)
            #expect(try await poll(poller, "POLLS", until: 303).map(\.id.rawValue) == Array(1...303))
        }
    }

    @Test func `a consumer begins after an event, at a time, or now`() async throws {
        try await discarded { pipeline in
            try await pipeline.record("EVEN", ["301"])
            let time = try await TestDatabase.rows(
                "SELECT to_char(ts, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM evt_history WHERE id = 150", on: pipeline.warehouse)[
                    0][0]!
            try await TestDatabase.execute(
                "UPDATE evt_history SET ts = ts - interval '1 day' WHERE id < 150", on: pipeline.warehouse)
            let poller = try await pipeline.poller()
            for (name, start, position) in [
                ("AFTER", StartPosition.after(EventID(250)), 250), ("SINCE", .since(EventTimestamp(wire: time.utf8)!), 149),
                ("NOW", .now, 301), ("LATER", .since(EventTimestamp(wire: "2999-01-01T00:00:00Z".utf8)!), 301),
            ] {
                try await poller.registerConsumer(name, start: start)
                #expect(try await pipeline.position(of: name) == position, "\(name)")
                // Registered, the start is of no account.
                try await poller.registerConsumer(name, start: .first)
                #expect(try await pipeline.position(of: name) == position, "\(name)")
            }
            try await poller.registerConsumer("PLAIN")
            #expect(try await pipeline.position(of: "PLAIN") == 300)
            try await TestDatabase.execute(
                "INSERT INTO evt_consumers (ident, last_evt_id, reg_time, last_time) VALUES ('local:RAW', 0, now(), now())",
                on: pipeline.active)
            #expect(try await pipeline.position(of: "RAW") == 300)
            let error = await #expect(throws: EventStreamError.self) {
                try await poller.registerConsumer("BEYOND", start: .after(EventID(999)))
            }
            #expect(error?.code == .invalidRequest)
            #expect(try await poller.pollEvents("AFTER", after: nil).first?.id == EventID(251))
        }
    }

    @Test func `a pusher without an archive says what it cannot read`() async throws {
        try await discarded(archive: false) { pipeline in
            let poller = try await pipeline.poller()
            for start in [StartPosition.first, .after(EventID(299)), .since(EventTimestamp(wire: "2001-01-01T00:00:00Z".utf8)!)] {
                let error = await #expect(throws: EventStreamError.self) {
                    try await poller.registerConsumer("EARLY", start: start)
                }
                #expect(error?.code == .historyUnavailable && error?.text.contains("begin after 300") == true, "\(error!)")
            }
            #expect(
                try await TestDatabase.number(
                    "SELECT count(*) FROM evt_consumers WHERE ident = 'local:EARLY'", on: pipeline.active) == 0)
            try await poller.registerConsumer("LATE", start: .after(EventID(300)))
            try await TestDatabase.execute(
                "UPDATE evt_consumers SET last_evt_id = 10 WHERE ident = 'local:LATE'", on: pipeline.active)
            let error = await #expect(throws: EventStreamError.self) { try await poller.pollEvents("LATE", after: nil) }
            #expect(error?.code == .historyUnavailable, "\(error!)")
            try await pipeline.receiving("LATE") { late in
                try await eventually("a refusal") { await late.errors.contains { $0.code == .historyUnavailable } }
                #expect(await late.count == 0)
            }
        }
    }

    @Test func `an archive that is not complete is not read, and read once it is`() async throws {
        try await discarded { pipeline in
            let poller = try await pipeline.poller()
            try await TestDatabase.execute(
                "UPDATE evt_history_positions SET complete_from = 120", on: pipeline.warehouse)
            var error = await #expect(throws: EventStreamError.self) { try await poller.registerConsumer("EARLY", start: .first) }
            #expect(error?.code == .historyUnavailable && error?.text.contains("begins after event 120") == true, "\(error!)")
            try await poller.registerConsumer("LATER", start: .after(EventID(120)))
            #expect(try await poller.pollEvents("LATER", after: nil).first?.id == EventID(121))
            // The archive follows another generation: who is in history waits, who is at the head does not.
            try await TestDatabase.execute(
                "CREATE TABLE kept AS SELECT generation FROM evt_history_positions; "
                    + "UPDATE evt_history_positions SET generation = gen_random_uuid()", on: pipeline.warehouse)
            error = await #expect(throws: EventStreamError.self) { try await poller.pollEvents("LATER", after: nil) }
            #expect(error?.code == .historyUnavailable, "\(error!)")
            try await pipeline.receiving("WAITS", configure: { $0.start = .now }) { present in
                // It begins with what is recorded from then on.
                try await eventually("its registration") {
                    try await TestDatabase.number(
                        "SELECT count(*) FROM evt_consumers WHERE ident = 'local:WAITS'", on: pipeline.active) == 1
                }
                try await pipeline.receiving("LATER") { late in
                    try await pipeline.record("NEW", ["1"])
                    try await eventually("the present") { await present.count == 1 }
                    #expect(await late.count == 0)
                    try await TestDatabase.execute(
                        "UPDATE evt_history_positions SET generation = (SELECT generation FROM kept)", on: pipeline.warehouse)
                    try await eventually("history") { await late.count == 181 }
                    #expect(await late.ids.map(\.rawValue) == Array(121...301))
                }
            }
        }
    }

    @Test func `groups that are sent again come from the archive once their events are discarded`() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.run([.pusher, .archiver]) {
                $0.archive = ArchiveConfiguration(url: TestDatabase.url(pipeline.warehouse, as: .pusher))
                $0.delivery.ackTimeout = .milliseconds(300)
            } _: {
                let poller = try await pipeline.poller()
                try await poller.registerConsumer("SLOW")
                try await pipeline.record("EVENT", (1...5).map(String.init))
                try await eventually("the archive") { try await pipeline.archived() == 5 }
                let receiver = try pipeline.receiver("SLOW")
                var times = 0
                for await batch in receiver.batches {
                    #expect(batch.events.map(\.id.rawValue) == Array(1...5))
                    times += 1
                    if times == 2 {
                        await batch.confirm()
                        break
                    }
                    // As a discarder beyond the consumer's lag does.
                    try await TestDatabase.execute(
                        "DELETE FROM evt_queue; UPDATE evt_queue_state SET discarded = 5", on: pipeline.active)
                    await batch.reject(because: "once more")
                }
                await receiver.stop()
                try await eventually("the position") { try await pipeline.position(of: "SLOW") == 5 }
            }
        }
    }

    @Test func `a consumer that stands still beyond the maximum lag comes back and gets every event`() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.run([.pusher, .archiver, .discarder]) {
                $0.archive = ArchiveConfiguration(url: TestDatabase.url(pipeline.warehouse, as: .pusher))
            } discarder: {
                $0.required = [pipeline.required()]
                $0.maxLagEvents = 50
            } _: {
                let poller = try await pipeline.poller()
                try await poller.registerConsumer("STUCK")
                try await TestDatabase.execute("INSERT INTO evt_consumers (ident) VALUES ('local:RAW')", on: pipeline.active)
                for _ in 0..<4 { try await pipeline.record("EVENT", (1...100).map(String.init)) }
                try await eventually("the discard") { try await pipeline.backlog() <= 50 }
                #expect(try await pipeline.position(of: "STUCK") == 0)
                // At the border: some events at a time, and more are discarded meanwhile.
                var (ids, recorded): ([Int64], Int64) = ([], 400)
                while ids.count < 500 {
                    let last = ids.last.map { EventID($0) }
                    ids += try await poller.pollEvents("STUCK", after: last).map(\.id.rawValue)
                    if recorded < 500 {
                        try await pipeline.record("EVENT", (1...20).map(String.init))
                        recorded += 20
                    }
                }
                #expect(ids == Array(1...500))
                try await pipeline.receiving("RAW") { raw in
                    try await eventually("every event") { await raw.count == 500 }
                    #expect(await raw.ids.map(\.rawValue) == Array(1...500))
                }
            }
        }
    }
}
