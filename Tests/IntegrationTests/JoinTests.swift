import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamPusher
import EventStreamServer
import LibPQ
import TestSupport
import Testing

/// TRUNCATE is not MVCC: who has begun to read sees an empty table, whatever the snapshot. Each way of reading is stopped at the lock
/// while events are discarded.
@Suite(.serialized) struct JoinTests {
    private actor Gate {
        private(set) var isOpen = false
        func open() { isOpen = true }
    }

    /// Discards the events up to `id` as the discarder does, and commits once the gate is open and somebody waits for the segment.
    private func truncate(_ pipeline: Pipeline, through id: Int, _ gate: Gate, _ reader: String) async throws {
        try await TestDatabase.connected(to: pipeline.active) { connection in
            try await connection.script("BEGIN; TRUNCATE evt_queue_0; UPDATE evt_queue_state SET discarded = \(id)")
            try await eventually("the reader") {
                guard await gate.isOpen else { return false }
                return try await locks(pipeline, "NOT granted AND \(reader)")
            }
            try await connection.query("COMMIT")
        }
    }

    private func locks(_ pipeline: Pipeline, _ condition: String) async throws -> Bool {
        try await TestDatabase.number(
            "SELECT count(*) FROM pg_locks l WHERE relation = 'evt_queue_0'::regclass AND \(condition)", on: pipeline.active) > 0
    }

    /// Runs `body`, which is stopped at the lock, while the events up to 5 are discarded.
    ///
    /// - Parameter reader: who it is that is stopped, of those that wait for the segment, as SQL.
    private func stopped<Value>(
        _ pipeline: Pipeline, reader: String = "true", _ body: () async throws -> Value
    ) async throws -> Value {
        let gate = Gate()
        async let discarding: Void = truncate(pipeline, through: 5, gate, reader)
        try await eventually("the lock") { try await locks(pipeline, "mode = 'AccessExclusiveLock' AND granted") }
        await gate.open()
        let value = try await body()
        try await discarding
        return value
    }

    /// Five events, archived, still in the table.
    private func archived(_ body: (Pipeline) async throws -> Void) async throws {
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("EVENT", (1...5).map(String.init))
            try await pipeline.run([.pusher, .archiver]) {
                try await eventually("the archive") { try await pipeline.archived() == 5 }
                try await eventually("the position") { try await pipeline.position(of: "ARCHIVER") == 5 }
            }
            try await body(pipeline)
        }
    }

    private func withArchive(_ pipeline: Pipeline, _ body: () async throws -> Void) async throws {
        try await pipeline.run([.pusher]) {
            $0.archive = ArchiveConfiguration(url: TestDatabase.url(pipeline.warehouse, as: .pusher))
        } _: {
            try await body()
        }
    }

    @Test(arguments: [EventFilter.all, EventFilter([EventType("EVENT")!])!])
    func `a page that was stopped at the lock is empty, and the look after it tells`(_ want: EventFilter) async throws {
        try await archived { pipeline in
            try await TestDatabase.connected(to: pipeline.active) { connection in
                let info = try await StreamInfo.load(.standard, from: connection)
                let (reader, queries) = (QueueReader(info.tables), QueueQueries(info.tables))
                func read() async throws -> (count: Int, discarded: EventID) {
                    var page: Result<QueueRows, PostgresError>?
                    let discarded = await withCheckedContinuation { continuation in
                        reader.read(on: connection, after: .none, through: EventID(5), want: want, limits: .init()) { page = $0 }
                        queries.discarded(on: connection) { continuation.resume(returning: $0) }
                    }
                    return (try page?.get().count ?? 0, try discarded.get())
                }
                // The statement is prepared by then, and its plan made.
                #expect(try await read() == (5, .none))
                #expect(try await stopped(pipeline) { try await read() } == (0, EventID(5)))
            }
        }
    }

    @Test func `a session that was stopped at the lock gets the events from the archive`() async throws {
        try await archived { pipeline in
            try await withArchive(pipeline) {
                let poller = try await pipeline.poller()
                try await poller.registerConsumer("SESSION")
                let collector = Collector()
                // Not the head, which reads as well.
                let reader = """
                    EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND a.application_name LIKE '%catch-up')
                    """
                try await stopped(pipeline, reader: reader) {
                    try await pipeline.receiving("SESSION", into: collector) { collector in
                        try await eventually("the events") { await collector.count == 5 }
                    }
                }
                #expect(await collector.ids.map(\.rawValue) == Array(1...5))
            }
        }
    }

    @Test func `a poll that was stopped at the lock gets the events from the archive`() async throws {
        try await archived { pipeline in
            try await withArchive(pipeline) {
                let poller = try await pipeline.poller()
                try await poller.registerConsumer("POLL")
                let events = try await stopped(pipeline) { try await poller.pollEvents("POLL", after: nil) }
                #expect(events.map(\.id.rawValue) == Array(1...5))
            }
        }
    }

    /// The head waits for nobody who is registered: a discarder goes on beyond a consumer's lag.
    @Test func `a head that reads late has the window begin after what is discarded`() async throws {
        try await archived { pipeline in
            try await withArchive(pipeline) {
                try await pipeline.receiving("BEHIND", configure: { $0.start = .first }) { behind in
                    try await eventually("the first events") { await behind.count == 5 }
                    try await TestDatabase.execute(
                        """
                        INSERT INTO evt_history (id, type, data, ts) VALUES (6, 'EVENT', '6', now()), (7, 'EVENT', '7', now());
                        UPDATE evt_history_positions SET last_evt_id = 7
                        """, on: pipeline.warehouse)
                    try await TestDatabase.execute(
                        "BEGIN; TRUNCATE evt_queue_0; UPDATE evt_queue_state SET discarded = 7; COMMIT", on: pipeline.active)
                    // What the ids 6 and 7 were is in the archive only.
                    try await TestDatabase.execute("SELECT setval('evt_queue_id_seq', 7)", on: pipeline.active)
                    try await pipeline.record("EVENT", ["8"])
                    try await eventually("all events") { await behind.count == 8 }
                    #expect(await behind.ids.map(\.rawValue) == Array(1...8))
                }
            }
        }
    }
}
