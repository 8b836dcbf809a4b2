import EventStream
import EventStreamDatabase
import EventStreamDiscarder
import LibPQ
import TestSupport
import Testing

/// `evt archive verify` and `evt history`, without the commands around them.
@Suite(.serialized) struct VerifyTests {
    @Test func everyDifferenceIsNamed() async throws {
        try await Pipeline.with([.pusher, .archiver]) { pipeline in
            try await pipeline.record("SAME", (1...30).map { "\($0)" })
            _ = try await TestDatabase.number("SELECT setval('evt_queue_id_seq', 50000)", on: pipeline.active)
            try await pipeline.record("SAME", (1...30).map { "\($0)" })
            try await eventually("the archive") { try await pipeline.archived() == 60 }
            #expect(try await pipeline.verify().summary == .init(verified: 60, wrong: 0))
            try await TestDatabase.execute(
                """
                DELETE FROM evt_history WHERE id IN (3, 50010);
                UPDATE evt_history SET data = '0' WHERE id IN (4, 50030);
                INSERT INTO evt_history SELECT x, 'SAME', '1', now() FROM unnest('{-5,0,40,30000,60000,900000000000}'::bigint[]) x
                """, on: pipeline.warehouse)
            let (findings, summary) = try await pipeline.verify()
            #expect(
                findings == [
                    .extra(EventID(-5)), .extra(.none), .missing(EventID(3)), .changed(EventID(4)), .extra(EventID(40)),
                    .extra(EventID(30000)), .missing(EventID(50010)),
                    .changed(EventID(50030)), .extra(EventID(60000)), .extra(EventID(900_000_000_000)),
                ])
            #expect(summary == .init(verified: 56, wrong: 10))
            #expect(try await pipeline.verify(from: EventID(4), through: EventID(39)).findings == [.changed(EventID(4))])
            #expect(try await pipeline.verify(from: EventID(5), through: EventID(39)).findings.isEmpty)
        }
    }

    @Test func whatIsNotArchivedYetIsNotMissing() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("SAME", ["1"])
            try await pipeline.run([.pusher, .archiver]) {
                try await eventually("the archive") { try await pipeline.position(of: "ARCHIVER") == 1 }
            }
            try await pipeline.record("SAME", ["2"])
            #expect(try await pipeline.verify().summary == .init(verified: 1, wrong: 0))
            // What was confirmed is.
            try await TestDatabase.execute("UPDATE evt_consumers SET last_evt_id = 2", on: pipeline.active)
            #expect(try await pipeline.verify().findings == [.missing(EventID(2))])
        }
    }

    @Test func eventsDiscardedWithoutComparisonAreSaidToBeUnknown() async throws {
        try await Pipeline.with([.pusher, .archiver, .discarder]) { pipeline in
            try await pipeline.record("GONE", ["1", "2", "3"])
            try await eventually("the archive") { try await pipeline.archived() == 3 }
            try await eventually("the discard") { try await pipeline.backlog() == 0 }
            let (findings, summary) = try await pipeline.verify()
            #expect(findings == [.unknown(first: EventID(1), last: EventID(3), events: 3)])
            #expect(summary == .init(verified: 0, wrong: 0))
        }
    }

    @Test func anArchiverUnknownHereIsAnError() async throws {
        try await Pipeline.with([]) { pipeline in
            await #expect(throws: StoreError.self) { try await pipeline.verify("NOBODY") }
        }
    }

    @Test func aHealthyArchiveUnderLoadHasNoFindings() async throws {
        let seed = SplitMix.seedOfRun()
        try await Pipeline.with([.pusher, .archiver, .discarder]) { pipeline in
            try await pipeline.run([.discarder], discarder: { $0.required = [pipeline.required()] }) {
                try await WriterLoad(writers: 4, seed: seed).run(on: pipeline.active) {
                    try await eventually("events") { try await pipeline.archived() > 100 }
                    for _ in 0..<15 {
                        let wrong = try await pipeline.verify().findings.filter {
                            if case .unknown = $0 { false } else { true }
                        }
                        #expect(wrong == [], "EVT_SIMULATION_SEED=\(seed)")
                    }
                }
            }
        }
    }

    // MARK: History

    private func history(
        _ pipeline: Pipeline, limit: Int = .max, _ change: (inout HistoryReader.Query) -> Void
    ) async throws -> [Event] {
        var query = HistoryReader.Query()
        change(&query)
        let chosen = query
        return try await TestDatabase.connected(to: pipeline.warehouse) { connection in
            let store = try await HistoryStore.load(.standard, archiver: pipeline.required().consumer, from: connection)
            let collected = Collected()
            try await HistoryReader(store).read(chosen, limit: limit, on: connection) { collected.events.append($0) }
            let count = try await HistoryReader(store).count(chosen, on: connection)
            #expect(count == collected.events.count || limit < .max)
            return collected.events
        }
    }

    private final class Collected { var events: [Event] = [] }

    @Test func theHistoryIsReadAsItWasRecorded() async throws {
        try await Pipeline.with([.pusher, .archiver]) { pipeline in
            let data = [
                "1.50", "{\"b\":1, \"a\":2}", "\"\\u0000 \\ud800 é\"", "\"\(String(repeating: "x", count: 3_000_000))\"", "null",
            ]
            try await pipeline.record("ONE", data)
            try await pipeline.record("TWO_", ["1"])
            try await eventually("the archive") { try await pipeline.archived() == 6 }
            let events = try await history(pipeline) { _ in }
            #expect(events.map(\.data.description) == data + ["1"])
            #expect(events.map(\.id.rawValue) == [1, 2, 3, 4, 5, 6])
            let recorded = try await TestDatabase.rows(
                "SELECT (EXTRACT(EPOCH FROM ts) * 1000000)::bigint FROM evt_queue ORDER BY id", on: pipeline.active)
            #expect(events.map { "\($0.timestamp.microseconds)" } == recorded.map { $0[0] })
        }
    }

    @Test func theHistoryIsFilteredByTypeIdAndTime() async throws {
        try await Pipeline.with([]) { pipeline in
            try await TestDatabase.execute(
                """
                SELECT evt_history_partitions('2024-01-01', '2024-12-01');
                INSERT INTO evt_history SELECT g, CASE WHEN g % 2 = 0 THEN 'EVEN' ELSE 'ODD' END, to_json(g),
                    timestamp '2024-01-01' + interval '1 hour' * g FROM generate_series(1, 7000) g
                """, on: pipeline.warehouse)
            func ids(limit: Int = .max, _ change: (inout HistoryReader.Query) -> Void) async throws -> [Int64] {
                try await history(pipeline, limit: limit, change).map(\.id.rawValue)
            }
            #expect(try await ids { _ in } == Array(1...7000))
            #expect(try await ids(limit: 3) { $0.first = EventID(6990) } == [6990, 6991, 6992])
            #expect(try await ids { ($0.first, $0.last) = (EventID(10), EventID(12)) } == [10, 11, 12])
            #expect(
                try await ids {
                    $0.want = EventFilter([EventType("EVEN")!])!; $0.last = EventID(7)
                } == [2, 4, 6])
            #expect(
                try await ids {
                    $0.since = EventTimestamp(wire: "2024-03-01T00:00:00Z".utf8)
                    $0.until = EventTimestamp(wire: "2024-03-01T03:00:00Z".utf8)
                } == [1440, 1441, 1442])
            #expect(try await ids(limit: 0) { _ in } == [])
        }
    }
}
