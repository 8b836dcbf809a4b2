import EventStream
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// What is archived again, put back or restored stays erased.
extension ErasureTests {
    @Test(arguments: [false, true]) func `what an archiver still has in memory is archived without its data`(
        comparing: Bool
    ) async throws {
        try await mixed { pipeline in
            try await erasing(pipeline) { parts in
                // As a batch that a pusher has sent before.
                let rows = try await parts.active.query(
                    "SELECT id, (EXTRACT(EPOCH FROM ts - timestamp '2000-01-01') * 1000000)::bigint FROM evt_queue WHERE id > 150 ORDER BY id"
                )
                let batch = try (0..<rows.count).map { row in
                    Event(
                        id: EventID(rows.int(row, 0)!), type: EventType("EVEN")!,
                        data: try RawJSON("{\"n\": \(rows.int(row, 0)!)}"),
                        timestamp: EventTimestamp(postgres: rows.int(row, 1)!))
                }
                let standing = try await parts.history.present(on: parts.warehouse)
                _ = try await parts.begin(152...153)
                try await parts.complete()
                let found = try await parts.history.append(
                    batch[...], from: standing, comparing: comparing, on: parts.warehouse)
                #expect(found == .copied(10, lost: 0))
            }
            #expect(
                try await TestDatabase.rows(
                    "SELECT data FROM evt_history WHERE id BETWEEN 151 AND 154 ORDER BY id", on: pipeline.warehouse)
                    == [["{\"n\": 151}"], ["null"], ["null"], ["{\"n\": 154}"]])
            // The same again is the same.
            try await archive(pipeline, through: 160)
            try await discard(pipeline)
            #expect(try await pipeline.refusal() == nil)
            #expect(try await pipeline.verify().findings == [])
        }
    }

    @Test func `a batch that is being copied is waited for`() async throws {
        try await mixed { pipeline in
            let open = try await erasing(pipeline) { try await $0.begin(155...155) }
            try await TestDatabase.connected(to: pipeline.warehouse) { archiver in
                try await archiver.query("BEGIN")
                try await archiver.query("UPDATE evt_history_positions SET last_evt_id = 155")
                async let erased = erasing(pipeline) { try await $0.record.erase(open, on: $0.warehouse) }
                try await eventually("the wait") {
                    try await TestDatabase.number(
                        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'evt_history_positions'::regclass",
                        on: pipeline.warehouse) == 1
                }
                try await archiver.query(
                    "INSERT INTO evt_history VALUES (155, 'EVEN', '{\"n\": 155}', $1::text::timestamp)",
                    [.text(open.events[0].time)])
                try await archiver.query("COMMIT")
                #expect(try await erased == 1)
            }
        }
    }

    @Test func `what was set aside comes back without its data`() async throws {
        try await mixed { pipeline in
            try await TestDatabase.execute(
                """
                WITH gone AS (DELETE FROM evt_history WHERE id IN (5, 6) RETURNING *)
                INSERT INTO evt_history_lost (id, type, data, ts, ident, generation)
                SELECT id, type, data, ts, 'local:ARCHIVER', gen_random_uuid() FROM gone
                """, on: pipeline.warehouse)
            try await erasing(pipeline) { parts in
                let plan = try await parts.erasure.plan([EventID(5)])
                #expect(plan.events.map(\.places) == [[.aside]])
                try await parts.erasure.begin(plan, because: "a test")
                try await parts.complete()
                let back = try await LostEvents(parts.history).restore(
                    from: EventID(1), through: EventID(10), on: parts.warehouse)
                #expect(back.events == 2 && back.conflicts.isEmpty)
            }
            #expect(
                try await TestDatabase.rows("SELECT data FROM evt_history WHERE id IN (5, 6) ORDER BY id", on: pipeline.warehouse)
                    == [["null"], ["{\"n\": 6}"]])
        }
    }

    @Test func `a warehouse that was restored is erased again`() async throws {
        try await mixed { pipeline in
            try await TestDatabase.execute(
                "CREATE TABLE backup AS SELECT * FROM evt_history; CREATE TABLE backup_sums AS SELECT * FROM evt_history_sums",
                on: pipeline.warehouse)
            try await erasing(pipeline) { parts in
                _ = try await parts.begin(7...7)
                try await parts.complete()
            }
            try await TestDatabase.execute(
                """
                DELETE FROM evt_history; INSERT INTO evt_history SELECT * FROM backup;
                DELETE FROM evt_history_sums; INSERT INTO evt_history_sums SELECT * FROM backup_sums; DELETE FROM evt_history_erased
                """, on: pipeline.warehouse)
            #expect(try await pipeline.verify().findings == [.notErased(number: 1)])
            try await erasing(pipeline) { parts in
                #expect(try await parts.erasure.incomplete().map(\.number) == [1])
                try await parts.complete()
                #expect(try await parts.erasure.incomplete().isEmpty)
            }
            #expect(try await pipeline.verify().findings == [])
            #expect(
                try await TestDatabase.rows("SELECT data FROM evt_history WHERE id = 7", on: pipeline.warehouse) == [["null"]])
        }
    }

    @Test func `an active database that was restored is erased again`() async throws {
        try await mixed { pipeline in
            try await erasing(pipeline) { parts in
                _ = try await parts.begin(120...120)
                try await parts.complete()
            }
            try await TestDatabase.execute(
                """
                DELETE FROM evt_queue_erasures;
                UPDATE evt_queue SET data = '{"n": 120}' WHERE id = 120
                """, on: pipeline.active)
            try await erasing(pipeline) { parts in
                let again = try await parts.erasure.incomplete()
                #expect(again.count == 1 && again[0].reason == "a test" && again[0].events.map(\.id) == [EventID(120)])
                try await parts.complete()
            }
            #expect(try await TestDatabase.rows("SELECT data FROM evt_queue WHERE id = 120", on: pipeline.active) == [["null"]])
            #expect(try await pipeline.verify().findings == [])
        }
    }

    @Test func `sums of which a part expires stay right before and after`() async throws {
        try await Pipeline.with([]) { pipeline in
            let months = ExpiryTests()
            try await months.recordMonths(pipeline)
            try await months.archive(pipeline)
            try await months.discard(pipeline)
            try await erasing(pipeline) { parts in
                // One that goes, and one that stays, of the same range.
                _ = try await parts.begin(60...61)
                try await parts.complete()
            }
            #expect(try await pipeline.verify().findings == [])
            try await months.expire(pipeline, .before(try await months.time(3)))
            let (findings, summary) = try await pipeline.verify()
            #expect(findings == [] && summary.verified == 40)
            try await erasing(pipeline) { parts in
                #expect(try await parts.erasure.plan([EventID(60)]).missing == [EventID(60)])
                _ = try await parts.begin(62...63)
                try await parts.complete()
            }
            #expect(try await pipeline.verify().findings == [])
            try await TestDatabase.execute("UPDATE evt_history SET data = '0' WHERE id = 61", on: pipeline.warehouse)
            #expect(try await pipeline.verify().summary.wrong == 1)
        }
    }

    @Test func `an event that another generation has under the same id keeps its data`() async throws {
        try await mixed { pipeline in
            try await erasing(pipeline) { parts in
                _ = try await parts.begin(155...155)
                try await TestDatabase.execute(
                    "UPDATE evt_queue SET ts = ts + interval '1 microsecond' WHERE id = 155", on: pipeline.active)
                try await parts.complete()
            }
            try await archive(pipeline, through: 160)
            #expect(
                try await TestDatabase.rows("SELECT data FROM evt_history WHERE id = 155", on: pipeline.warehouse)
                    == [["{\"n\": 155}"]])
        }
    }

    @Test func `the archive of another stream is left alone`() async throws {
        try await mixed { pipeline in
            try await TestDatabase.execute(
                "UPDATE evt_history_positions SET stream = gen_random_uuid()", on: pipeline.warehouse)
            let error = await #expect(throws: StoreError.self) {
                try await erasing(pipeline) { _ = try await $0.erasure.plan([EventID(7)]) }
            }
            #expect(error?.message.contains("holds another stream") == true)
        }
    }
}
