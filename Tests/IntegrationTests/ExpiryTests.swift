import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamPusher
import EventStreamServer
import LibPQ
import TestSupport
import Testing

/// The history ends on purpose, month by month.
@Suite(.serialized) struct ExpiryTests {
    /// Events 1 to 30 of five months ago, 31 to 60 of four, 61 to 90 of three months ago, and 91 to 100 of now.
    func recordMonths(_ pipeline: Pipeline) async throws {
        for month in [5, 4, 3, 0] {
            try await TestDatabase.execute(
                """
                INSERT INTO evt_queue (type, data, ts) SELECT CASE WHEN n % 2 = 0 THEN 'EVEN' ELSE 'ODD' END, to_json(n),
                    CASE WHEN \(month) = 0 THEN now() AT TIME ZONE 'UTC'
                    ELSE \(start(month)) + n * interval '1 hour' END FROM generate_series(1, \(month == 0 ? 10 : 30)) n
                """, on: pipeline.active)
        }
    }

    /// The beginning of a month before this one, in SQL.
    private func start(_ monthsAgo: Int) -> String {
        "(date_trunc('month', now() AT TIME ZONE 'UTC') - interval '\(monthsAgo) months')"
    }

    func archive(_ pipeline: Pipeline, through last: Int = 100) async throws {
        try await pipeline.run([.pusher, .archiver]) {
            try await eventually("the archive") { try await pipeline.position(of: "ARCHIVER") == last }
        }
    }

    func discard(_ pipeline: Pipeline) async throws {
        try await pipeline.run([.discarder], discarder: { $0.required = [pipeline.required()] }) {
            try await eventually("the discard") { try await pipeline.backlog() == 0 }
        }
    }

    /// Runs `body` with a stream whose events are archived and discarded.
    private func discarded(_ body: (Pipeline) async throws -> Void) async throws {
        try await Pipeline.with([]) { pipeline in
            try await recordMonths(pipeline)
            try await archive(pipeline)
            try await discard(pipeline)
            try await body(pipeline)
        }
    }

    private func expiring<Value: Sendable>(
        _ pipeline: Pipeline,
        _ body:
            nonisolated(nonsending) @Sendable (HistoryExpiry, HistoryStore, _ active: Connection, _ warehouse: Connection)
            async throws
            -> Value
    ) async throws -> Value {
        try await TestDatabase.connected(to: pipeline.active) { active in
            let warehouse = try await Connection.open(
                ConnectionOptions(pipeline.warehouse, settings: ["lock_timeout": "300ms"]), on: active.loop)
            defer { warehouse.close() }
            let info = try await StreamInfo.load(.standard, from: active)
            let history = try await HistoryStore.load(.standard, archiver: pipeline.required().consumer, from: warehouse)
            return try await body(HistoryExpiry(info, history), history, active, warehouse)
        }
    }

    /// The first instant of a month before this one.
    func time(_ monthsAgo: Int) async throws -> EventTimestamp {
        let text = try await TestDatabase.rows(
            "SELECT to_char(\(start(monthsAgo)), 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')", on: TestDatabase.cluster)[0][0]!
        return try #require(EventTimestamp(wire: text.utf8))
    }

    private func plan(_ pipeline: Pipeline, _ limit: HistoryExpiry.Limit) async throws -> ExpiryPlan {
        try await expiring(pipeline) { try await $0.plan(limit, active: $2, warehouse: $3) }
    }

    /// Drops what may go, and tells what stays.
    @discardableResult
    func expire(_ pipeline: Pipeline, _ limit: HistoryExpiry.Limit, batch: Int = 7) async throws -> [String] {
        try await expiring(pipeline) { expiry, history, active, warehouse in
            let plan = try await expiry.plan(limit, active: active, warehouse: warehouse)
            for month in plan.going {
                let gone = try await MonthExpiry(history, month, batch: batch)
                    .carryOut(before: plan.before, because: "a test", on: warehouse)
                #expect(gone == month.events)
            }
            return plan.months.compactMap { if case .stays(let why) = $0.verdict { why } else { nil } }
        }
    }

    func completeFrom(_ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number("SELECT complete_from FROM evt_history_positions", on: pipeline.warehouse)
    }

    /// What expiring changes.
    private func state(_ pipeline: Pipeline) async throws -> [[String?]] {
        try await TestDatabase.rows(
            """
            SELECT 'sum', ident, first_id::text, last_id::text, events::text, checksum::text FROM evt_history_sums
            UNION ALL SELECT 'position', ident, complete_from::text, last_evt_id::text, '', '' FROM evt_history_positions
            UNION ALL SELECT 'event', '', id::text, '', '', '' FROM evt_history
            UNION ALL SELECT 'expired', month::text, first_id::text, last_id::text, events::text, '' FROM evt_history_expired ORDER BY 1, 2, 3
            """, on: pipeline.warehouse)
    }

    // MARK: What goes

    @Test func `whole months go, and what stays can still be verified`() async throws {
        try await discarded { pipeline in
            let partition = "SELECT to_char(\(start(5)), '\"evt_history_y\"YYYY\"m\"MM')"
            let oldest = try await TestDatabase.rows(partition, on: pipeline.warehouse)[0][0]!
            let exists = "SELECT count(*) FROM pg_class WHERE relname = '\(oldest)'"
            #expect(try await TestDatabase.number(exists, on: pipeline.warehouse) == 1)
            // Months of which the archiver knew nothing when it made partitions are in the default partition.
            #expect(try await TestDatabase.number("SELECT count(*) FROM evt_history_default", on: pipeline.warehouse) == 60)
            #expect(try await expire(pipeline, .before(try await time(3))) == [])
            #expect(
                try await TestDatabase.rows("SELECT min(id), max(id), count(*) FROM evt_history", on: pipeline.warehouse)
                    == [["61", "100", "40"]])
            #expect(try await TestDatabase.number(exists, on: pipeline.warehouse) == 0)
            #expect(try await completeFrom(pipeline) == 60)
            #expect(
                try await TestDatabase.rows(
                    """
                    SELECT events, first_id, last_id, by = current_user, reason, month = \(start(5))::date
                    FROM evt_history_expired ORDER BY number
                    """, on: pipeline.warehouse)
                    == [["30", "1", "30", "t", "a test", "t"], ["30", "31", "60", "t", "a test", "f"]])
            let (findings, summary) = try await pipeline.verify()
            #expect(findings == [] && summary.verified == 40 && summary.wrong == 0)
            #expect(summary.expired == .init(events: 60, first: EventID(1), last: EventID(60)))
            // What is recorded later is archived and discarded as before; of a month that has gone no partition is made again.
            try await TestDatabase.execute(
                "INSERT INTO evt_queue (type, data, ts) VALUES ('LATE', '1', \(start(5))), ('NOW', '2', now() AT TIME ZONE 'UTC')",
                on: pipeline.active)
            try await archive(pipeline, through: 102)
            try await discard(pipeline)
            #expect(try await pipeline.refusal() == nil)
            #expect(try await TestDatabase.number(exists, on: pipeline.warehouse) == 0)
            #expect(try await pipeline.verify().findings == [])
            #expect(try await pipeline.verify().summary.verified == 42)
            // The sums are those of what stays: a change is found.
            try await TestDatabase.execute("UPDATE evt_history SET data = '0' WHERE id = 61", on: pipeline.warehouse)
            guard case .range(let record, let now)? = try await pipeline.verify().findings.first else {
                Issue.record("the change was not found")
                return
            }
            #expect(record.sum.events == now.events)
            try await TestDatabase.execute("UPDATE evt_history SET data = '1' WHERE id = 61", on: pipeline.warehouse)
            // Consumers keep what the late one came with.
            #expect(
                try await expire(pipeline, .before(try await time(3)))
                    == ["event 101 was recorded after all events of a later month, which stays"])
            #expect(try await completeFrom(pipeline) == 60)
        }
    }

    @Test func `what was wrong with the rest stays known`() async throws {
        try await discarded { pipeline in
            try await TestDatabase.execute("DELETE FROM evt_history WHERE id IN (10, 70)", on: pipeline.warehouse)
            try await expire(pipeline, .before(try await time(3)))
            guard case .range(_, let now)? = try await pipeline.verify().findings.first else {
                Issue.record("nothing was found")
                return
            }
            #expect(now.events == 39)
        }
    }

    @Test func `the past that stays is counted by the clock of the warehouse`() async throws {
        try await discarded { pipeline in
            let seconds = try await TestDatabase.number(
                "SELECT EXTRACT(EPOCH FROM now() AT TIME ZONE 'UTC' - \(start(3)))::bigint", on: TestDatabase.cluster)
            #expect(try await plan(pipeline, .keep(.seconds(seconds - 60))).going.map(\.events) == [30, 30])
            #expect(try await plan(pipeline, .keep(.seconds(seconds + 60))).going.map(\.events) == [30])
            #expect(try await plan(pipeline, .keep(.zero)).going.map(\.events) == [30, 30, 30])
            #expect(try await plan(pipeline, .keep(.seconds(1000 * 86_400))).months.isEmpty)
            try await expire(pipeline, .keep(.zero))
            #expect(try await completeFrom(pipeline) == 90)
            #expect(try await pipeline.verify().findings == [])
            try await expire(pipeline, .keep(.zero))
            #expect(try await TestDatabase.number("SELECT count(*) FROM evt_history_expired", on: pipeline.warehouse) == 3)
        }
    }

    @Test func `consumers begin after what has gone`() async throws {
        try await discarded { pipeline in
            try await expire(pipeline, .before(try await time(3)))
            try await pipeline.run([.pusher]) {
                $0.archive = ArchiveConfiguration(url: TestDatabase.url(pipeline.warehouse, as: .pusher))
            } _: {
                let poller = try await pipeline.poller()
                for start in [StartPosition.first, .after(EventID(59))] {
                    try await eventually("the archive") {
                        let error = await #expect(throws: EventStreamError.self) {
                            try await poller.registerConsumer("EARLY", start: start)
                        }
                        return error?.code == .historyUnavailable && error?.text.contains("after event 60") == true
                    }
                }
                try await poller.registerConsumer("LATER", start: .after(EventID(60)))
                #expect(try await poller.pollEvents("LATER", after: nil).map(\.id.rawValue) == Array(61...100))
            }
        }
    }

    // MARK: What stays

    @Test func `what is not discarded or not archived stays`() async throws {
        try await Pipeline.with([]) { pipeline in
            try await recordMonths(pipeline)
            try await archive(pipeline)
            let limit = HistoryExpiry.Limit.before(try await time(3))
            #expect(
                try await expire(pipeline, limit) == [30, 60].map { "event \($0) is not discarded in the active table yet" })
            #expect(try await pipeline.archived() == 100)
            try await discard(pipeline)
            try await TestDatabase.execute(
                """
                INSERT INTO evt_history_positions (ident, last_evt_id, want) VALUES ('local:ODD', 40, '{ODD}'),
                    ('local:OTHER', 0, '{OTHER}')
                """, on: pipeline.warehouse)
            #expect(try await expire(pipeline, limit) == ["local:ODD has archived events up to 40 only"])
            #expect(try await pipeline.archived() == 70)
            #expect(
                try await TestDatabase.rows("SELECT DISTINCT complete_from FROM evt_history_positions", on: pipeline.warehouse)
                    == [["30"]])
        }
    }

    @Test func `an archive that is not that of this database is left alone`() async throws {
        try await discarded { pipeline in
            let limit = HistoryExpiry.Limit.before(try await time(3))
            let before = try await state(pipeline)
            await #expect(throws: StoreError.self) {
                try await plan(pipeline, .before(EventTimestamp(wire: "2999-01-01T00:00:00Z".utf8)!))
            }
            for (change, words) in [
                ("token = gen_random_uuid()", "evt archive adopt"), ("stream = gen_random_uuid()", "holds another stream"),
            ] {
                let kept = try await TestDatabase.rows("SELECT token, stream FROM evt_history_positions", on: pipeline.warehouse)[
                    0]
                try await TestDatabase.execute("UPDATE evt_history_positions SET \(change)", on: pipeline.warehouse)
                let error = await #expect(throws: StoreError.self) { try await plan(pipeline, limit) }
                #expect(error?.message.contains(words) == true, "\(error!)")
                try await TestDatabase.execute(
                    "UPDATE evt_history_positions SET token = '\(kept[0]!)', stream = '\(kept[1]!)'", on: pipeline.warehouse)
            }
            #expect(try await state(pipeline) == before)
        }
    }

    @Test func `a report that reads the history is named, and nothing is half done`() async throws {
        try await discarded { pipeline in
            let limit = HistoryExpiry.Limit.before(try await time(4))
            let before = try await state(pipeline)
            try await TestDatabase.connected(to: pipeline.warehouse) { report in
                let pid = report.backendProcessID
                try await report.query("BEGIN")
                try await report.query("SELECT count(*) FROM evt_history WHERE id < 5")
                let error = await #expect(throws: MonthExpiry.InUse.self) { try await expire(pipeline, limit) }
                #expect(error?.description.contains("pid \(pid) ") == true, "\(error!)")
                try await report.query("COMMIT")
            }
            #expect(try await state(pipeline) == before)
            try await expire(pipeline, limit)
            #expect(try await pipeline.archived() == 70)
            #expect(try await pipeline.verify().findings == [])
        }
    }
}
