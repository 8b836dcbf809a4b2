import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamPusher
import LibPQ
import PosixLoop
import TestSupport
import Testing

/// What the seed lost or jammed on although its own tests pass: order of rows, and events larger than a query may be.
@Suite(.serialized) struct SeedFaultTests {
    enum Arrangement: String, CaseIterable { case writtenBackwards, refilledAfterVacuum }

    /// The seed reads a page of history without ORDER BY: after real vacuuming a consumer lost most of its events.
    @Test(arguments: Arrangement.allCases)
    func historyIsReadInIDOrderWhateverItsOrderInTheTable(_ arrangement: Arrangement) async throws {
        try await Pipeline.with([]) { pipeline in
            switch arrangement {
            case .writtenBackwards:
                // On both sides of the ring's end: the order of the segments is not that of the ids, either.
                try await TestDatabase.execute(
                    """
                    INSERT INTO evt_queue (id, type, data)
                        SELECT id, 'HISTORY', to_json(id) FROM generate_series(1048576 + 6000, 1048576 - 6000, -1) id;
                    SELECT setval('evt_queue_id_seq', 1048576 + 6000)
                    """, on: pipeline.active)
            case .refilledAfterVacuum:
                let events = Array(repeating: "\"history\"", count: 12_000)
                try await pipeline.record("HISTORY", events)
                try await TestDatabase.execute("DELETE FROM evt_queue WHERE id % 3 <> 0", on: pipeline.active)
                try await TestDatabase.execute("VACUUM evt_queue", on: pipeline.active)
                try await pipeline.record("HISTORY", events)
            }
            let backwards = try await TestDatabase.number(
                """
                SELECT count(*) FROM (SELECT id < lag(id) OVER (ORDER BY tableoid, ctid) AS back FROM evt_queue) x WHERE back
                """, on: pipeline.active)
            try #require(backwards > 0)
            let recorded = try await pipeline.recorded()
            try await pipeline.run([.pusher], configure: { $0.maxChunkEvents = 1000 }) {
                let poller = try await pipeline.poller()
                var polled: [EventID] = []
                while case let events = try await poller.pollEvents("LIVE", after: polled.last), !events.isEmpty {
                    polled += events.map(\.id)
                }
                #expect(polled == recorded, "polled")
                try await pipeline.receiving("PUSHED") { pushed in
                    try await eventually("the newest event") { await pushed.events.last?.id == recorded.last }
                    #expect(await pushed.ids == recorded, "pushed")
                }
                try await pipeline.receiving("FILTERED", want: ["HISTORY"]) { pushed in
                    try await eventually("the newest event") { await pushed.events.last?.id == recorded.last }
                    #expect(await pushed.ids == recorded, "pushed through a filter")
                }
            }
        }
    }

    /// The seed's archiver is jammed for ever by an event over 9.9 kB, or by many smaller ones.
    @Test func eventsOfTheLargestSizeAreArchived() async throws {
        try await Pipeline.with([.pusher, .archiver]) { pipeline in
            let largest = "\"\(String(repeating: "L", count: (8 << 20) - 4096 - 2))\""
            let data = [largest] + (0..<300).map { "[\($0), \"\(String(repeating: "m", count: 10_000))\"]" } + [largest, "1"]
            try await pipeline.record("LARGE", data)
            try await eventually("the archive") { try await pipeline.archived() == data.count }
            let archived = try await TestDatabase.rows("SELECT data::text FROM evt_history ORDER BY id", on: pipeline.warehouse)
            #expect(archived.map { $0[0] } == data)
        }
    }
}
