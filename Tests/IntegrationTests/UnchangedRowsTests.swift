import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamPusher
import LibPQ
import TestSupport
import Testing

/// Nothing is written that does not change: every version of a row is kept as long as an old snapshot may need it.
@Suite(.serialized) struct UnchangedRowsTests {
    private func version(_ component: String, _ url: String) async throws -> [[String?]] {
        try await TestDatabase.rows("SELECT ctid, xmin FROM evt_consumers WHERE ident = 'local:\(component)'", on: url)
    }

    @Test func aPollThatConfirmsNothingNewWritesNothing() async throws {
        try await Pipeline.with { pipeline in
            let poller = try await pipeline.poller()
            try await poller.registerConsumer("POLLS")
            let ids = try await pipeline.record("POLLED", ["1", "2"])
            _ = try await poller.pollEvents("POLLS", after: ids[0], want: ["POLLED"])
            // However long the polls take, it was seen lately.
            try await TestDatabase.execute(
                "UPDATE evt_consumers SET last_time = now() AT TIME ZONE 'UTC' + interval '1 hour'", on: pipeline.active)
            let before = try await version("POLLS", pipeline.active)
            for _ in 0..<5 { #expect(try await poller.pollEvents("POLLS", after: ids[0], want: ["POLLED"]).count == 1) }
            #expect(try await version("POLLS", pipeline.active) == before)
            // What changes is written: a position, what it wants, and that it is still there.
            _ = try await poller.pollEvents("POLLS", after: ids[1], want: ["POLLED"])
            #expect(try await pipeline.position(of: "POLLS") == Int(ids[1].rawValue))
            _ = try await poller.pollEvents("POLLS", after: ids[1], want: ["OTHER"])
            #expect(
                try await TestDatabase.rows("SELECT want FROM evt_consumers WHERE ident = 'local:POLLS'", on: pipeline.active)
                    == [["{OTHER}"]])
            try await TestDatabase.execute(
                "UPDATE evt_consumers SET last_time = last_time - interval '1 minute'", on: pipeline.active)
            _ = try await poller.pollEvents("POLLS", after: ids[1], want: ["OTHER"])
            #expect(
                try await TestDatabase.number(
                    "SELECT count(*) FROM evt_consumers WHERE last_time < now() AT TIME ZONE 'UTC' - interval '30 seconds'",
                    on: pipeline.active) == 0)
        }
    }

    @Test func aLongListOfTypesIsNotWrittenWithEveryPosition() async throws {
        try await Pipeline.with { pipeline in
            let poller = try await pipeline.poller()
            try await poller.registerConsumer("WIDE")
            var random = SplitMix(seed: 5)
            let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
            let types = Set((0..<600).map { _ in String((0..<16).map { _ in letters.randomElement(using: &random)! }) })
            let want = ["WIDE"] + types.sorted()
            let ids = try await pipeline.record("WIDE", (0..<20).map { "\($0)" })
            _ = try await poller.pollEvents("WIDE", after: nil, want: want)
            let chunks = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'evt_consumers'::regclass"
            let before = try await TestDatabase.number(chunks, on: pipeline.active)
            #expect(before > 0)
            for id in ids { _ = try await poller.pollEvents("WIDE", after: id, want: want) }
            #expect(try await pipeline.position(of: "WIDE") == Int(ids.last!.rawValue))
            #expect(try await TestDatabase.number(chunks, on: pipeline.active) == before)
        }
    }

    @Test func aPositionThatDoesNotMoveIsNotWritten() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute(
                "INSERT INTO evt_consumers (ident, session_epoch, last_evt_id, want) VALUES ('local:SAME', 7, 5, '{A}')", on: url)
            let before = try await version("SAME", url)
            try await TestDatabase.connected(to: TestDatabase.url(url, as: .pusher)) { connection in
                let info = try await StreamInfo.load(.standard, from: connection)
                let generation = try await GenerationStore(info).identity(on: connection).generation
                let consumers = ConsumerStore(info)
                let same = ConsumerIdentity(component: ConsumerComponent("SAME")!)
                for position in [5, 3] as [Int64] {
                    let outcome = await withCheckedContinuation { continuation in
                        consumers.store(
                            [.init(consumer: same, epoch: 7, position: EventID(position))], of: generation, on: connection
                        ) { continuation.resume(returning: $0) }
                    }
                    #expect(try outcome.get() == [same: .stored])
                }
                let fenced = await withCheckedContinuation { continuation in
                    consumers.store([.init(consumer: same, epoch: 6, position: EventID(9))], of: generation, on: connection) {
                        continuation.resume(returning: $0)
                    }
                }
                #expect(try fenced.get() == [same: .fenced])
            }
            #expect(try await version("SAME", url) == before)
        }
    }
}
