import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamPusher
import LibPQ
import PosixLoop
import TestSupport
import Testing

/// What the seed lost although its own tests pass: order of commits, order of rows, and the moment of the start.
@Suite(.serialized) struct SeedFaultTests {
    /// The seed reads "id greater than the last": what commits later under an earlier id is lost, and then deleted.
    @Test func eventsCommittedOutOfIDOrderReachEveryoneAndAreNotDiscardedBefore() async throws {
        try await Pipeline.with([.pusher, .discarder]) { pipeline in
            try await TestDatabase.execute(Self.noteEarlyDiscards, on: pipeline.active)
            let poller = try await pipeline.poller()
            try await poller.registerConsumer("BEHIND")
            var committed: [EventID] = []
            try await Followers.with(pipeline) { followers in
                for _ in 0..<10 {
                    let last = committed.last ?? followers.start
                    committed += try await outOfOrder(pipeline) {
                        // A fresh look sees the later ones, and must not go past those to come.
                        let early = try await poller.pollEvents("LIVE", after: last)
                        #expect(early.isEmpty)
                    }
                    try await followers.get(committed)
                }
                // All but one have confirmed everything; that one may still ask for it.
                var (last, kept): (EventID?, [EventID]) = (nil, [])
                repeat {
                    let events = try await poller.pollEvents("BEHIND", after: last)
                    kept += events.map(\.id).filter { $0 > followers.start }
                    last = events.last?.id ?? last
                } while last.map { $0 < committed.last! } ?? false
                #expect(kept == committed)
                _ = try await poller.pollEvents("BEHIND", after: last)
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
            }
            #expect(try await TestDatabase.rows("SELECT id FROM discarded_early", on: pipeline.active).isEmpty)
        }
    }

    /// Three transactions end in another order than they drew their ids, one with a rollback.
    ///
    /// - Returns: the ids committed, in order.
    private func outOfOrder(
        _ pipeline: Pipeline, whileOpen look: @Sendable () async throws -> Void
    ) async throws -> [EventID] {
        try await TestDatabase.connected(to: pipeline.active) { slow in
            let failing = try await Connection.open(pipeline.active, on: slow.loop)
            defer { failing.close() }
            try await slow.query("BEGIN")
            let early = try await slow.query("SELECT evt_add('EARLY', '1')").int(0, 0)
            let middle = try await pipeline.record("LATER", ["1", "2"])
            try await failing.query("BEGIN")
            try await failing.query("SELECT evt_add('NEVER', '1')")
            let late = try await pipeline.record("LATER", ["3"])
            try await look()
            try await failing.query("ROLLBACK")
            try await slow.query("COMMIT")
            return [EventID(early ?? 0)] + middle + late
        }
    }

    private static let noteEarlyDiscards = """
        CREATE TABLE discarded_early (id bigint);
        CREATE FUNCTION note_early_discard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            IF OLD.id > (SELECT min(last_evt_id) FROM evt_consumers) THEN
                INSERT INTO discarded_early VALUES (OLD.id);
            END IF;
            RETURN OLD;
        END $$;
        CREATE TRIGGER note_early_discard BEFORE DELETE ON evt_queue FOR EACH ROW EXECUTE FUNCTION note_early_discard();
        """

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

    /// The seed loses what commits between its first page of history and its look at the newest id.
    ///
    /// Short transactions move the head fast; long ones leave gaps that are filled only after the start.
    @Test(arguments: [4, 300] as [UInt64])
    func aColdStartUnderLoadLosesNothing(whileTransactionsAreOpenFor milliseconds: UInt64) async throws {
        struct Newcomer {
            let position: EventID
            let seen = Collector()
        }
        try await Pipeline.with([]) { pipeline in
            let always = Collector()
            var newcomers: [Newcomer] = []
            try await pipeline.receiving("ALWAYS", into: always) { _ in
                try await WriterLoad(writers: 8, seed: 8, idle: 10, open: milliseconds).run(on: pipeline.active) {
                    for start in 0..<20 {
                        // With some pages of history to read on the way to the present.
                        let newcomer = Newcomer(position: try await pipeline.register("START_\(start)", behind: 2500))
                        newcomers.append(newcomer)
                        try await pipeline.run([.pusher]) {
                            try await pipeline.receiving("START_\(start)", into: newcomer.seen) { seen in
                                let newest = try await pipeline.newest()
                                try await eventually("events after the start") {
                                    await seen.events.last.map { $0.id > newest } ?? false
                                }
                            }
                        }
                    }
                }
                let committed = try await pipeline.recorded()
                try await pipeline.run([.pusher]) {
                    try await eventually("the newest event") { await always.events.last?.id == committed.last }
                }
                #expect(await always.ids == committed)
                for (start, newcomer) in newcomers.enumerated() {
                    let ids = await newcomer.seen.ids
                    let last = try #require(ids.last)
                    #expect(ids == committed.filter { $0 > newcomer.position && $0 <= last }, "start \(start)")
                }
            }
        }
    }
}

extension Pipeline {
    fileprivate func newest() async throws -> EventID {
        EventID(Int64(try await TestDatabase.number("SELECT max(id) FROM evt_queue", on: active)))
    }

    /// Registers a consumer some events behind the newest that is certain to have none before it to come.
    fileprivate func register(_ component: String, behind count: Int64) async throws -> EventID {
        try await TestDatabase.connected(to: active) { connection in
            let admin = ConsumerAdmin(try await StreamInfo.load(.standard, from: connection))
            let consumer = ConsumerIdentity(component: ConsumerComponent(component)!)
            _ = try await admin.register(consumer, on: connection)
            let head = try await admin.set(consumer.description, to: nil, on: connection).position
            let position = EventID(max(0, head.rawValue - count))
            return try await admin.set(consumer.description, to: position, on: connection).position
        }
    }
}
