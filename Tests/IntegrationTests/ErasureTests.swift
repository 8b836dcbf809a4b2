import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamPusher
import EventStreamServer
import LibPQ
import TestSupport
import Testing

/// The data of single events is erased, wherever it is; everything else stays as it was.
@Suite(.serialized) struct ErasureTests {
    /// The parts of an erasure, for tests that stop between them.
    struct Parts {
        let erasure: EventErasure
        let store: ErasureStore
        let record: ArchiveErasures
        let info: StreamInfo
        let history: HistoryStore
        let active: Connection
        let warehouse: Connection

        /// Begins an erasure of these events.
        func begin(_ ids: ClosedRange<Int64>) async throws -> Erasure {
            let plan = try await erasure.plan(ids.map { EventID($0) })
            try await erasure.begin(plan, because: "a test")
            return try #require(try await erasure.incomplete().last)
        }

        func complete() async throws {
            for each in try await erasure.incomplete() {
                _ = try await erasure.eraseInDatabases(each)
                let holders = try await erasure.close(each, within: .seconds(60))
                #expect(holders.isEmpty)
            }
        }
    }

    func erasing<Value: Sendable>(
        _ pipeline: Pipeline, _ body: nonisolated(nonsending) @Sendable (Parts) async throws -> Value
    ) async throws -> Value {
        try await TestDatabase.connected(to: pipeline.active) { active in
            let warehouse = try await Connection.open(pipeline.warehouse, on: active.loop)
            defer { warehouse.close() }
            let info = try await StreamInfo.load(.standard, from: active)
            let history = try await HistoryStore.load(.standard, archiver: pipeline.required().consumer, from: warehouse)
            return try await body(
                Parts(
                    erasure: EventErasure((info, active), (history, warehouse)), store: ErasureStore(info),
                    record: ArchiveErasures(history), info: info, history: history, active: active, warehouse: warehouse))
        }
    }

    func archive(_ pipeline: Pipeline, through last: Int) async throws {
        try await pipeline.run([.pusher, .archiver]) {
            try await eventually("the archive") { try await pipeline.position(of: "ARCHIVER") == last }
        }
    }

    func discard(_ pipeline: Pipeline) async throws {
        try await pipeline.run([.discarder], discarder: { $0.required = [pipeline.required()] }) {
            try await eventually("the discard") { try await pipeline.backlog() == 0 }
        }
    }

    /// Runs `body` with the events 1 to 100 archived and discarded, 101 to 150 archived, and 151 to 160 in the table alone.
    func mixed(isPlain: Bool = false, _ body: (Pipeline) async throws -> Void) async throws {
        try await Pipeline.with([]) { pipeline in
            if isPlain { try await Self.makePlain(pipeline.warehouse) }
            try await pipeline.record("EVEN", (1...100).map { "{\"n\": \($0)}" })
            try await archive(pipeline, through: 100)
            try await discard(pipeline)
            try await pipeline.record("ODD", (101...150).map { "{\"n\": \($0)}" })
            try await archive(pipeline, through: 150)
            try await pipeline.record("EVEN", (151...160).map { "{\"n\": \($0)}" })
            try await body(pipeline)
        }
    }

    /// A history that was there before the archive, which stays a plain table.
    private static func makePlain(_ url: String) async throws {
        try await TestDatabase.execute(
            """
            DROP TABLE evt_history;
            CREATE TABLE evt_history (
                id bigint NOT NULL PRIMARY KEY, type varchar(16) NOT NULL, data json NOT NULL, ts timestamp NOT NULL, key text, meta json)
            """, on: url)
        try await TestDatabase.connected(to: url) { _ = try await Migrator.grantWarehouse(.standard, on: $0) }
    }

    /// What a consumer that begins with the first event gets, through `last`.
    func replay(_ pipeline: Pipeline, as component: String, through last: Int64) async throws -> [String] {
        var events: [Event] = []
        try await pipeline.run([.pusher]) {
            $0.archive = ArchiveConfiguration(url: TestDatabase.url(pipeline.warehouse, as: .pusher))
        } _: {
            let poller = try await pipeline.poller()
            try await eventually("the archive") {
                do {
                    try await poller.registerConsumer(component, start: .first)
                    return true
                } catch let error as EventStreamError where error.code == .historyUnavailable {
                    return false
                }
            }
            while events.last?.id.rawValue != last {
                events += try await poller.pollEvents(component, after: events.last?.id, precise: true)
            }
        }
        return events.map { "\($0.id) \($0.type) \($0.timestamp) \($0.data)" }
    }

    private func expected(_ before: [String], erased: Set<Int>) -> [String] {
        before.enumerated().map { index, text in
            erased.contains(index + 1) ? text.replacing("{\"n\": \(index + 1)}", with: "null") : text
        }
    }

    // MARK: What it reaches

    @Test(arguments: [false, true]) func `the data is gone from table and archive, and a replay goes through`(
        isPlain: Bool
    ) async throws {
        try await mixed(isPlain: isPlain) { pipeline in
            let before = try await replay(pipeline, as: "BEFORE", through: 160)
            #expect(before.count == 160)
            try await erasing(pipeline) { parts in
                let plan = try await parts.erasure.plan([155, 120, 7].map { EventID($0) } + [EventID(999)])
                #expect(plan.missing == [EventID(999)])
                #expect(plan.events.map(\.event.id.rawValue) == [7, 120, 155])
                #expect(plan.events.map(\.places) == [[.archive], [.table, .archive], [.table]])
                try await parts.erasure.begin(plan, because: "a request")
                let open = try await parts.erasure.incomplete()
                #expect(open.count == 1 && open[0].isOpen && open[0].reason == "a request" && open[0].progress == .begun)
                #expect(try await parts.erasure.eraseInDatabases(open[0]) == 4)
                #expect(try await parts.erasure.close(open[0], within: .seconds(60)).isEmpty)
                let record = try await parts.store.list(on: parts.active)
                #expect(record.count == 1 && !record[0].isOpen && record[0].events == plan.events.map(\.event))
                #expect(try await parts.record.list(on: parts.warehouse).map(\.events) == [record[0].events])
                #expect(try await parts.erasure.incomplete().isEmpty)
            }
            let (findings, summary) = try await pipeline.verify()
            #expect(findings == [] && summary.verified == 150)
            #expect(try await TestDatabase.number("SELECT bytes FROM evt_queue WHERE id = 155", on: pipeline.active) == 4)
            let after = try await replay(pipeline, as: "AFTER", through: 160)
            #expect(after == expected(before, erased: [7, 120, 155]))
            // What is left is archived, compared and discarded as ever.
            try await TestDatabase.execute("DELETE FROM evt_consumers WHERE ident <> 'local:ARCHIVER'", on: pipeline.active)
            try await archive(pipeline, through: 160)
            try await discard(pipeline)
            #expect(try await pipeline.refusal() == nil)
            #expect(try await pipeline.verify().findings == [])
            #expect(try await pipeline.verify().summary.verified == 160)
            #expect(try await replay(pipeline, as: "LATER", through: 160) == after)
            // What was wrong before would be known still, and what becomes wrong is.
            try await TestDatabase.execute("UPDATE evt_history SET data = '{}' WHERE id = 7", on: pipeline.warehouse)
            #expect(try await pipeline.verify().summary.wrong == 1)
        }
    }

    @Test func `what was wrong with other events stays known`() async throws {
        try await mixed { pipeline in
            try await TestDatabase.execute("UPDATE evt_history SET data = '{}' WHERE id = 8", on: pipeline.warehouse)
            try await erasing(pipeline) { parts in
                _ = try await parts.begin(7...7)
                try await parts.complete()
            }
            #expect(try await pipeline.verify().summary.wrong == 1)
            try await TestDatabase.execute(
                "UPDATE evt_history SET data = '{\"n\": 8}' WHERE id = 8", on: pipeline.warehouse)
            #expect(try await pipeline.verify().findings == [])
        }
    }

    @Test func `without an archive the table is reached`() async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("EVEN", ["1", "2", "3"])
            try await TestDatabase.connected(to: pipeline.active) { active in
                let erasure = EventErasure((try await StreamInfo.load(.standard, from: active), active), nil)
                try await erasure.begin(try await erasure.plan([EventID(2)]), because: "a test")
                let open = try await erasure.incomplete()
                #expect(try await erasure.eraseInDatabases(open[0]) == 1)
                #expect(try await erasure.close(open[0], within: .zero).isEmpty)
                #expect(try await erasure.incomplete().isEmpty)
            }
            #expect(
                try await TestDatabase.rows("SELECT data FROM evt_queue ORDER BY id", on: pipeline.active)
                    == [["1"], ["null"], ["3"]])
        }
    }

    @Test func `pushers drop what they hold in memory`() async throws {
        try await Pipeline.with([.pusher], configure: { $0.sessionTimeout = .seconds(5) }) { pipeline in
            try await pipeline.record("EVEN", ["1", "2", "3"])
            let receiver = try pipeline.receiver("SLOW") { $0.start = .first }
            var batches = receiver.batches.makeAsyncIterator()
            let first = try #require(await batches.next())
            #expect(first.events.map(\.data.description).first == "1")
            try await TestDatabase.connected(to: pipeline.active) { active in
                let erasure = EventErasure((try await StreamInfo.load(.standard, from: active), active), nil)
                try await erasure.begin(try await erasure.plan([EventID(1)]), because: "a test")
                let open = try await erasure.incomplete()[0]
                _ = try await erasure.eraseInDatabases(open)
                #expect(try await erasure.close(open, within: .seconds(60)).isEmpty)
            }
            #expect(try await TestDatabase.number("SELECT erased FROM evt_queue_pushers", on: pipeline.active) == 1)
            await first.reject(because: "a test")
            let second = try #require(await batches.next())
            #expect(second.events.first?.id == EventID(1) && second.events.first?.data == .null)
            await second.confirm()
            await receiver.stop()
        }
    }

    @Test func `a pusher that does not answer keeps the erasure open`() async throws {
        try await mixed { pipeline in
            try await erasing(pipeline) { parts in
                let open = try await parts.begin(7...7)
                _ = try await parts.erasure.eraseInDatabases(open)
                let frozen = try await Connection.open(pipeline.active, on: parts.active.loop)
                try await frozen.query("INSERT INTO evt_queue_pushers (id, application) VALUES (42, 'evt-pusher')")
                try await frozen.query("SELECT pg_advisory_lock(42)")
                #expect(try await parts.erasure.close(open, within: .milliseconds(200)).map(\.id) == [42])
                #expect(try await parts.erasure.incomplete().map(\.number) == [open.number])
                frozen.close()
                try await eventually("its end") {
                    try await PusherStatus.load(parts.info, from: parts.active).allSatisfy { !$0.isConnected }
                }
                try await parts.complete()
                #expect(try await parts.erasure.incomplete().isEmpty)
            }
            #expect(try await pipeline.verify().findings == [])
        }
    }

    // MARK: Interrupted

    @Test func `an erasure that is interrupted is completed, wherever that was`() async throws {
        try await mixed { pipeline in
            let before = try await replay(pipeline, as: "BEFORE", through: 160)
            try await TestDatabase.execute("DELETE FROM evt_consumers WHERE ident <> 'local:ARCHIVER'", on: pipeline.active)
            try await erasing(pipeline) { parts in
                // Each time of a discarded event, of one in both databases, and of one in the table.
                for number in Int64(0)...3 {
                    let plan = try await parts.erasure.plan(
                        [1 + number, 110 + number, 151 + number].map { EventID($0) })
                    try await parts.erasure.begin(plan, because: "a test")
                    let open = try #require(try await parts.erasure.incomplete().last)
                    if number >= 1 { _ = try await parts.store.erase(open, on: parts.active) }
                    if number >= 2 { _ = try await parts.record.erase(open, on: parts.warehouse) }
                    if number >= 3 { try await parts.store.announce(open, on: parts.active) }
                    let wrong = try await pipeline.verify().findings
                    #expect(wrong.isEmpty == (number >= 2), "\(wrong)")
                    #expect(try await parts.store.open(on: parts.active).map(\.number) == [open.number])
                    try await parts.complete()
                    #expect(try await parts.store.open(on: parts.active).isEmpty)
                    #expect(try await pipeline.verify().findings == [])
                }
            }
            let erased = Set((0...3).flatMap { (number: Int) in [number + 1, number + 110, number + 151] })
            #expect(try await replay(pipeline, as: "AFTER", through: 160) == expected(before, erased: erased))
        }
    }

    @Test func `the discarder waits for an erasure, and goes on after it`() async throws {
        try await mixed { pipeline in
            try await archive(pipeline, through: 160)
            try await erasing(pipeline) { parts in
                let open = try await parts.begin(120...121)
                _ = try await parts.store.erase(open, on: parts.active)
            }
            try await pipeline.run([.discarder], discarder: { $0.required = [pipeline.required()] }) {
                try await eventually("the wait") {
                    try await pipeline.refusal()?.contains("the erasure 1 has not reached the archive") == true
                }
                try await erasing(pipeline) { try await $0.complete() }
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
                try await eventually("no refusal") { try await pipeline.refusal() == nil }
            }
            #expect(try await pipeline.verify().findings == [])
        }
    }

    @Test func `a sum of before an erasure is not recorded after it`() async throws {
        try await mixed { pipeline in
            try await erasing(pipeline) { parts in
                let audit = ArchiveAudit(parts.info, parts.history, want: .all)
                let newest = try await parts.record.newest(on: parts.warehouse)
                let blocks = try await audit.compare(
                    after: EventID(100), through: EventID(150), active: parts.active, warehouse: parts.warehouse
                ).blocks
                #expect(blocks.allSatisfy { $0.isEqual })
                _ = try await parts.begin(120...120)
                try await parts.complete()
                let sums = ArchiveSums(parts.history)
                #expect(
                    try await !sums.record(blocks, want: .all, unlessErasedSince: newest, on: parts.warehouse))
                #expect(try await sums.end(on: parts.warehouse) == EventID(100))
            }
            #expect(try await pipeline.verify().findings == [])
        }
    }
}
