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
    /// Discards the events up to `id` as the discarder does, and commits when `body` has returned.
    private func truncating(_ pipeline: Pipeline, through id: Int, _ body: () async throws -> Void) async throws {
        try await TestDatabase.connected(to: pipeline.active) { connection in
            try await connection.script("BEGIN; TRUNCATE evt_queue_0; UPDATE evt_queue_state SET discarded = \(id)")
            try await body()
            try await connection.query("COMMIT")
        }
    }

    /// Somebody waits for a segment.
    private func isWaiting(_ pipeline: Pipeline) async throws -> Bool {
        try await TestDatabase.number(
            "SELECT count(*) FROM pg_locks WHERE relation = 'evt_queue_0'::regclass AND NOT granted", on: pipeline.active) > 0
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
                var found: (page: Result<QueueRows, PostgresError>, discarded: Result<EventID, PostgresError>)?
                // Once before, so that the statement is prepared and its plan known.
                for isRace in [false, true] {
                    found = nil
                    func read() async {
                        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                            var page: Result<QueueRows, PostgresError>?
                            reader.read(on: connection, after: .none, through: EventID(5), want: want, limits: .init()) {
                                page = $0
                            }
                            queries.discarded(on: connection) {
                                found = (page!, $0)
                                continuation.resume()
                            }
                        }
                    }
                    guard isRace else {
                        await read()
                        #expect(try found?.page.get().count == 5)
                        continue
                    }
                    let discarding = Task {
                        try await truncating(pipeline, through: 5) {
                            try await eventually("the reader") { try await isWaiting(pipeline) }
                        }
                    }
                    try await eventually("the lock") {
                        try await TestDatabase.number(
                            "SELECT count(*) FROM pg_locks WHERE relation = 'evt_queue_0'::regclass AND mode = 'AccessExclusiveLock'",
                            on: pipeline.active) > 0
                    }
                    await read()
                    try await discarding.value
                    #expect(try found?.page.get().count == 0)
                    #expect(try found?.discarded.get() == EventID(5))
                }
            }
        }
    }

    @Test func `a session that was stopped at the lock gets the events from the archive`() async throws {
        try await archived { pipeline in
            try await withArchive(pipeline) {
                let poller = try await pipeline.poller()
                try await poller.registerConsumer("SESSION")
                let collector = Collector()
                var receiving: Task<Void, any Error>?
                try await truncating(pipeline, through: 5) {
                    receiving = Task {
                        try await pipeline.receiving("SESSION", into: collector) { collector in
                            try await eventually("the events") { await collector.count == 5 }
                        }
                    }
                    try await eventually("the reader") { try await isWaiting(pipeline) }
                    #expect(await collector.count == 0)
                }
                try await receiving?.value
                #expect(await collector.ids.map(\.rawValue) == Array(1...5))
            }
        }
    }

    @Test func `a poll that was stopped at the lock gets the events from the archive`() async throws {
        try await archived { pipeline in
            try await withArchive(pipeline) {
                let poller = try await pipeline.poller()
                try await poller.registerConsumer("POLL")
                var polling: Task<[Event], any Error>?
                try await truncating(pipeline, through: 5) {
                    polling = Task { try await poller.pollEvents("POLL", after: nil) }
                    try await eventually("the reader") { try await isWaiting(pipeline) }
                }
                #expect(try await polling?.value.map(\.id.rawValue) == Array(1...5))
            }
        }
    }

    /// The head waits for nobody who is registered: a discarder goes on beyond a consumer's lag.
    @Test func `a head that reads late has the window begin after what is discarded`() async throws {
        try await archived { pipeline in
            try await withArchive(pipeline) {
                try await pipeline.receiving("BEHIND", configure: { $0.start = .first }) { behind in
                    try await eventually("the first events") { await behind.count == 5 }
                    try await truncating(pipeline, through: 7) {
                        try await TestDatabase.execute(
                            """
                            INSERT INTO evt_history (id, type, data, ts) VALUES (6, 'EVENT', '6', now()), (7, 'EVENT', '7', now());
                            UPDATE evt_history_positions SET last_evt_id = 7
                            """, on: pipeline.warehouse)
                    }
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
