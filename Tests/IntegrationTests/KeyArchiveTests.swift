import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamPusher
import EventStreamServer
import LibPQ
import TestSupport
import Testing

/// Key and meta in the archive.
@Suite(.serialized) struct KeyArchiveTests {
    private static let columns = "id, type, data, ts, key, meta"

    /// Six events, with and without key and meta.
    private func record(_ pipeline: Pipeline) async throws {
        try await TestDatabase.execute(
            """
            SELECT evt_add('KEYED', to_json(n), key => CASE WHEN n % 2 = 0 THEN 'é ' || n END,
                meta => CASE WHEN n % 3 = 0 THEN '{ "n" :1.0}'::json END) FROM generate_series(1, 6) n
            """, on: pipeline.active)
    }

    private func archive(_ pipeline: Pipeline, through last: Int = 6) async throws {
        try await pipeline.run([.pusher, .archiver]) {
            try await eventually("the archive") { try await pipeline.position(of: "ARCHIVER") == last }
        }
    }

    private func discard(_ pipeline: Pipeline) async throws {
        try await pipeline.run([.discarder], discarder: { $0.required = [pipeline.required()] }) {
            try await eventually("the discard") { try await pipeline.backlog() == 0 }
        }
    }

    private func rows(_ table: String, _ url: String) async throws -> [[String?]] {
        try await TestDatabase.rows("SELECT \(Self.columns) FROM \(table) ORDER BY id", on: url)
    }

    private func stored<Value: Sendable>(
        _ pipeline: Pipeline, _ body: nonisolated(nonsending) @Sendable (HistoryStore, Connection) async throws -> Value
    ) async throws -> Value {
        try await TestDatabase.connected(to: pipeline.warehouse) { connection in
            try await body(
                try await HistoryStore.load(.standard, archiver: pipeline.required().consumer, from: connection), connection)
        }
    }

    @Test func bothAreArchivedComparedReplayedAndPrinted() async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(pipeline)
            let recorded = try await rows("evt_queue", pipeline.active)
            try await archive(pipeline)
            #expect(try await rows("evt_history", pipeline.warehouse) == recorded)
            #expect(try await pipeline.verify().summary == .init(verified: 6, wrong: 0))
            try await discard(pipeline)
            #expect(try await pipeline.verify().summary == .init(verified: 6, wrong: 0))
            try await pipeline.run([.pusher]) {
                $0.archive = ArchiveConfiguration(url: TestDatabase.url(pipeline.warehouse, as: .pusher))
            } _: {
                for fields in [.all, []] as [EventFields] {
                    try await pipeline.receiving("R\(fields.rawValue)") {
                        $0.fields = fields
                        $0.start = .first
                    } _: { collector in
                        try await eventually("history") { await collector.count == 6 }
                        let events = await collector.events
                        #expect(events.map(\.key) == recorded.map { fields.isEmpty ? nil : $0[4] })
                        #expect(events.map(\.meta?.description) == recorded.map { fields.isEmpty ? nil : $0[5] })
                    }
                }
            }
            let read = try await stored(pipeline) { store, connection in
                let collected = Collected()
                try await HistoryReader(store).read(.init(), on: connection) { collected.events.append($0) }
                return collected.events
            }
            #expect(read.map(\.key) == recorded.map { $0[4] } && read.map(\.meta?.description) == recorded.map { $0[5] })
        }
    }

    private final class Collected { var events: [Event] = [] }

    @Test(arguments: [
        "key = 'other' WHERE id = 2", "key = NULL WHERE id = 2", "key = '' WHERE id = 1", "meta = '{}' WHERE id = 3",
        "meta = NULL WHERE id = 3", "(key, meta) = ('{ \"n\" :1.0}', NULL) WHERE id = 3",
        "(data, key) = ((data::text || ' ')::json, NULL) WHERE id = 2",
    ])
    func aChangeOfKeyOrMetaIsFound(_ change: String) async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(pipeline)
            try await archive(pipeline)
            try await TestDatabase.execute("UPDATE evt_history SET \(change)", on: pipeline.warehouse)
            let findings = try await pipeline.verify().findings
            #expect(findings == [.changed(EventID(Int64(change.suffix(1))!))])
        }
    }

    /// As the sums of an archive were that knew neither key nor meta.
    @Test func theSumOfRowsWithoutKeyAndMetaIsWhatItWas() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("PLAIN", (1...50).map { "{\"n\": \($0)}" })
            try await archive(pipeline, through: 50)
            let before = try await TestDatabase.rows(
                """
                SELECT sum(('x' || encode(substr(sha256(int8send(id) || timestamp_send(ts)
                    || convert_to(type || ' ' || data::text, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint) FROM evt_history
                """, on: pipeline.warehouse)[0][0]
            let info = try await TestDatabase.connected(to: pipeline.active) { try await StreamInfo.load(.standard, from: $0) }
            let now = try await stored(pipeline) { store, connection in
                try await ArchiveAudit(info, store, want: .all).archived(EventID(1), EventID(50), on: connection)
            }
            #expect(now.checksum == before && now.events == 50)
        }
    }

    @Test func whatAnArchiverOfBeforeCopiedWithoutThemIsMadeExact() async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(pipeline)
            try await archive(pipeline)
            try await TestDatabase.execute(
                """
                UPDATE evt_history SET key = NULL, meta = NULL; UPDATE evt_history_positions SET last_evt_id = 0;
                UPDATE evt_history SET ts = date_trunc('second', ts) WHERE id < 4
                """, on: pipeline.warehouse)
            try await TestDatabase.execute("UPDATE evt_consumers SET last_evt_id = 0", on: pipeline.active)
            let recorded = try await rows("evt_queue", pipeline.active)
            try await pipeline.run([.pusher, .archiver]) {
                try await eventually("the exact archive") { try await rows("evt_history", pipeline.warehouse) == recorded }
            }
        }
    }

    @Test(arguments: ["key = 'other' WHERE id = 2", "meta = '{}' WHERE id = 3", "key = 'k' WHERE id = 1"])
    func anEventWithAnotherKeyOrMetaUnderTheSameIdIsNotOverwritten(_ change: String) async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(pipeline)
            try await archive(pipeline)
            try await TestDatabase.execute("UPDATE evt_history SET \(change)", on: pipeline.warehouse)
            let other = try await rows("evt_history", pipeline.warehouse)
            try await stored(pipeline) { store, connection in
                let collected = Collected()
                try await HistoryReader(store).read(.init(), on: connection) { event in
                    let isChanged = "\(event.id)" == change.suffix(1)
                    collected.events.append(isChanged ? event.with(only: .microseconds) : event)
                }
                let standing = try await store.present(on: connection)
                var refusal: StoreError?
                do {
                    _ = try await store.append(collected.events[...], from: standing, comparing: true, on: connection)
                } catch let error as StoreError {
                    refusal = error
                }
                #expect(refusal != nil)
            }
            #expect(try await rows("evt_history", pipeline.warehouse) == other)
        }
    }

    @Test func whatIsSetAsideKeepsThemAndIsPutBackWithThem() async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(pipeline)
            try await archive(pipeline)
            let archived = try await rows("evt_history", pipeline.warehouse)
            try await stored(pipeline) { store, connection in
                let standing = try await store.present(on: connection)
                let generation = try #require(standing.generation)
                let next = StreamOrigin(
                    generation: StreamGeneration(
                        stream: generation.stream, id: "00000000-0000-0000-0000-000000000002", start: EventID(1000)),
                    after: .none, common: .none)
                let collected = Collected()
                try await HistoryReader(store).read(.init(), on: connection) { event in
                    // The third has lost its meta, the fourth its key.
                    collected.events.append(
                        event.id == EventID(3) || event.id == EventID(4) ? event.with(only: .microseconds) : event)
                }
                let now = try await store.follow(next, from: standing, on: connection)
                let copied = try await store.append(collected.events[...], from: now, comparing: true, on: connection)
                #expect(copied == .copied(2, lost: 2))
            }
            #expect(try await rows("evt_history_lost", pipeline.warehouse) == [archived[2], archived[3]])
            let back = try await stored(pipeline) { store, connection in
                let lost = LostEvents(store)
                let conflicts = try await lost.restore(from: EventID(1), through: EventID(6), on: connection).conflicts
                #expect(conflicts == [EventID(3), EventID(4)])
                try await connection.query("DELETE FROM evt_history WHERE id IN (3, 4)")
                return try await lost.restore(from: EventID(1), through: EventID(6), on: connection).events
            }
            #expect(back == 2)
            #expect(try await rows("evt_history", pipeline.warehouse) == archived)
        }
    }

    @Test func partitionsTakeThemAlong() async throws {
        try await TestDatabase.with(.warehouse) { warehouse in
            try await TestDatabase.execute(
                "INSERT INTO evt_history (\(Self.columns)) VALUES (1, 'OLD', '1', '2020-05-05', 'k', '{ }'), (2, 'OLD', '2', '2020-05-06', NULL, NULL)",
                on: warehouse)
            let before = try await rows("evt_history_default", warehouse)
            try await TestDatabase.execute("SELECT evt_history_partitions('2020-05-01', '2020-05-01')", on: warehouse)
            #expect(try await rows("evt_history_y2020m05", warehouse) == before && before.count == 2)
        }
    }

    // MARK: Erasing

    @Test(arguments: [false, true]) func erasingTakesThemToo(isDiscarded: Bool) async throws {
        try await Pipeline.with([]) { pipeline in
            try await TestDatabase.execute("SELECT evt_add('ONLY', 'null', key => 'ada', meta => '{}')", on: pipeline.active)
            try await record(pipeline)
            try await archive(pipeline, through: 7)
            if isDiscarded { try await discard(pipeline) }
            try await TestDatabase.execute(
                """
                INSERT INTO evt_parked (consumer, id, generation, type, data, ts, attempts, error, key, meta)
                SELECT c.id, h.id, s.generation, h.type, h.data, h.ts, 3, 'no', h.key, h.meta
                FROM evt_consumers c, evt_queue_state s, (VALUES \(try await literals(pipeline))) h (id, type, data, ts, key, meta)
                """, on: pipeline.active)
            let count = try await ErasureTests().erasing(pipeline) { parts in
                let open = try await parts.begin(1...4)
                let count = try await parts.erasure.eraseInDatabases(open)
                try await parts.complete()
                // Done again it finds nothing.
                #expect(try await parts.record.erase(open, on: parts.warehouse) == 0)
                return count
            }
            #expect(count == (isDiscarded ? 8 : 12))
            for (table, url) in [
                ("evt_history", pipeline.warehouse), ("evt_queue", pipeline.active), ("evt_parked", pipeline.active),
            ] {
                let left = try await TestDatabase.number(
                    "SELECT count(*) FROM \(table) WHERE id <= 4 AND (data::text <> 'null' OR key IS NOT NULL OR meta IS NOT NULL)",
                    on: url)
                #expect(left == 0, "\(table)")
            }
            #expect(try await TestDatabase.number("SELECT count(key) FROM evt_history", on: pipeline.warehouse) == 2)
            let (findings, summary) = try await pipeline.verify()
            #expect(findings == [] && summary.verified == 7)
        }
    }

    /// The first four events of the history as rows.
    private func literals(_ pipeline: Pipeline) async throws -> String {
        try await TestDatabase.rows(
            """
            SELECT string_agg(format('(%s, %L, %L::json, %L::timestamp, %L, %L::json)', id, type, data, ts, key, meta), ', ')
            FROM evt_history WHERE id <= 4
            """, on: pipeline.warehouse)[0][0]!
    }

    @Test func whatAnArchiverStillHasInMemoryIsArchivedWithoutThem() async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(pipeline)
            try await archive(pipeline)
            try await stored(pipeline) { store, connection in
                let collected = Collected()
                try await HistoryReader(store).read(.init(), on: connection) { collected.events.append($0) }
                let standing = try await store.present(on: connection)
                _ = try await ErasureTests().erasing(pipeline) { parts in
                    _ = try await parts.begin(2...6)
                    try await parts.complete()
                }
                try await connection.query("DELETE FROM evt_history")
                let copied = try await store.append(collected.events[...], from: standing, comparing: false, on: connection)
                #expect(copied == .copied(6, lost: 0))
            }
            #expect(
                try await TestDatabase.number(
                    "SELECT count(*) FROM evt_history WHERE key IS NOT NULL OR meta IS NOT NULL", on: pipeline.warehouse) == 0)
        }
    }
}
