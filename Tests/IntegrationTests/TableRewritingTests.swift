import EventStream
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamPusher
import EventStreamServer
import LibPQ
import PosixLoop
import TestSupport
import Testing

/// Small tables that are written all the time, beside an old snapshot.
@Suite(.serialized) struct TableRewritingTests {
    private static let consumers = 200

    private func register(_ count: Int = consumers, on url: String) async throws {
        try await TestDatabase.execute(
            "INSERT INTO evt_consumers (ident, session_epoch, want) SELECT 'local:C' || n, n, ARRAY['A', NULL, 'B'] "
                + "FROM generate_series(1, \(count)) n", on: url)
    }

    private func entries(_ count: Int = consumers, at position: Int) -> [PositionBook.Entry] {
        (1...count).map {
            .init(
                consumer: ConsumerIdentity(component: ConsumerComponent("C\($0)")!), epoch: Int64($0),
                position: EventID(Int64(position)))
        }
    }

    private func store(
        _ entries: [PositionBook.Entry], _ generation: StreamGeneration, _ store: ConsumerStore, on connection: Connection
    ) async throws -> [ConsumerIdentity: ConsumerStore.Stored] {
        let result = await withCheckedContinuation { continuation in
            store.store(entries, of: generation, on: connection) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// As the pusher does it.
    private func makeAnew(_ url: String) async throws -> TableRewriting.Outcome {
        let home = LoopActor()
        defer { home.loop.stop() }
        return try await home.run { loop in
            let connection = try await Connection.open(
                ConnectionOptions(TestDatabase.url(url, as: .pusher), settings: TableRewriting.settings), on: loop)
            defer { connection.close() }
            let info = try await StreamInfo.load(.standard, from: connection)
            return try await TableRewriting(info.tables.consumers, of: info).carryOut(on: connection)
        }
    }

    private func isDone(_ outcome: TableRewriting.Outcome) -> Bool { if case .done = outcome { true } else { false } }

    private func rows(_ url: String) async throws -> [[String?]] {
        try await TestDatabase.rows("SELECT c::text FROM evt_consumers c ORDER BY id", on: url)
    }

    /// Pages of the table and its indexes that were looked at.
    private func pages(_ connection: Connection) async throws -> Int {
        for query in ["SELECT pg_stat_force_next_flush()", "SELECT pg_stat_clear_snapshot()"] {
            try await connection.query(Statement(query))
        }
        return Int(
            try await connection.query(
                """
                SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read FROM pg_statio_user_tables
                WHERE relname = 'evt_consumers'
                """
            ).int(0, 0) ?? 0)
    }

    /// Stores these positions for all consumers, one after the other.
    ///
    /// - Returns: the pages that the last time looked at.
    @discardableResult
    private func storeAll(_ positions: Range<Int>, on url: String) async throws -> Int {
        try await TestDatabase.connected(to: url) { connection in
            let info = try await StreamInfo.load(.standard, from: connection)
            let generation = try await GenerationStore(info).identity(on: connection).generation
            let consumers = ConsumerStore(info)
            for position in positions.dropLast() {
                _ = try await store(entries(at: position), generation, consumers, on: connection)
            }
            // A server that cannot tell at once what it has looked at is asked for nothing.
            let isKnown = connection.serverVersion >= 150_000
            let before = isKnown ? try await pages(connection) : 0
            if let last = positions.last { _ = try await store(entries(at: last), generation, consumers, on: connection) }
            return isKnown ? try await pages(connection) - before : 0
        }
    }

    @Test func storingPositionsStaysCheapBesideAnOldSnapshot() async throws {
        try await Pipeline.with([]) { pipeline in
            try await register(on: pipeline.active)
            let fresh = try await storeAll(1..<7, on: pipeline.active)
            let size = "SELECT pg_relation_size('evt_consumers')"
            let small = try await TestDatabase.number(size, on: pipeline.active)
            try await OldSnapshot.hold(on: pipeline.active) { _ in
                // The pusher looks after the table, whoever stores.
                try await pipeline.run([.pusher], configure: { $0.sessionTimeout = .seconds(1) }) {
                    try await storeAll(10..<500, on: pipeline.active)
                    var next = 500
                    try await eventually("a small table") {
                        // It is made anew once it has grown enough, not before.
                        try await storeAll(next..<(next + 1), on: pipeline.active)
                        next += 1
                        return try await TestDatabase.number(size, on: pipeline.active) <= small
                    }
                    let late = try await storeAll(100_000..<100_001, on: pipeline.active)
                    // By the number of versions a row may have until the table is made anew; without that it would be 500.
                    #expect(late <= fresh * 4, "\(fresh) pages before, \(late) after")
                }
            }
            #expect(
                try await TestDatabase.rows("SELECT DISTINCT last_evt_id FROM evt_consumers", on: pipeline.active)
                    == [["100000"]])
        }
    }

    @Test func anOlderSnapshotSeesEveryRow() async throws {
        try await TestDatabase.with(.active) { url in
            try await register(on: url)
            let before = try await rows(url)
            try await OldSnapshot.hold(on: url) { old in
                let outcome = try await makeAnew(url)
                #expect(isDone(outcome), "\(outcome)")
                let seen = try await old.query("SELECT c::text FROM evt_consumers c ORDER BY id")
                #expect((0..<seen.count).map { [seen.string($0, 0)] } == before)
            }
            #expect(try await rows(url) == before)
            // Numbers go on.
            try await TestDatabase.execute("INSERT INTO evt_consumers (ident) VALUES ('local:NEXT')", on: url)
            #expect(try await TestDatabase.number("SELECT max(id) FROM evt_consumers", on: url) == Self.consumers + 1)
        }
    }

    @Test func oneThatIsKilledOnTheWayChangesNothing() async throws {
        try await TestDatabase.with(.active) { url in
            try await register(on: url)
            let before = try await rows(url)
            try await TestDatabase.connected(to: url) { watcher in
                // Whoever has a row locked in the system's own table keeps TRUNCATE waiting: it has the table locked by then.
                try await watcher.query("BEGIN")
                try await watcher.query("LOCK TABLE evt_consumers IN ACCESS SHARE MODE")
                #expect(try await makeAnew(url) == .busy)
                try await watcher.query("COMMIT")
            }
            try await TestDatabase.connected(to: url) { connection in
                try await connection.query("BEGIN")
                try await connection.script("LOCK TABLE evt_consumers IN ACCESS EXCLUSIVE MODE; TRUNCATE evt_consumers")
                try await connection.copyIn(
                    "COPY evt_consumers (ident) FROM STDIN (FREEZE)", from: CopySource(Array("local:HALF\n".utf8)))
                #expect(try await connection.query("SELECT FROM evt_consumers").count == 1)
                try await TestDatabase.execute("SELECT pg_terminate_backend(\(connection.backendProcessID))", on: url)
                try await eventually("the end of the connection") {
                    do {
                        try await connection.query("SELECT 1")
                        return false
                    } catch { return true }
                }
            }
            #expect(try await rows(url) == before)
        }
    }

    @Test func killedAtAnyMomentEveryRowIsThere() async throws {
        try await TestDatabase.with(.active) { url in
            try await register(on: url)
            let before = try await rows(url)
            for round in 0..<15 {
                async let outcome = try? makeAnew(url)
                try await Task.sleep(for: .milliseconds(round * 2))
                try await TestDatabase.execute(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'evt_test_pusher'
                        AND datname = current_database()
                    """, on: url)
                _ = await outcome
                #expect(try await rows(url) == before)
            }
        }
    }

    @Test func positionsSessionsAndRegistrationsGoOnMeanwhile() async throws {
        try await Pipeline.with([]) { pipeline in
            let url = pipeline.active
            try await register(20, on: url)
            let rounds = 150
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    try await TestDatabase.connected(to: TestDatabase.url(url, as: .pusher)) { connection in
                        let info = try await StreamInfo.load(.standard, from: connection)
                        let generation = try await GenerationStore(info).identity(on: connection).generation
                        let consumers = ConsumerStore(info)
                        for round in 1...rounds {
                            let outcome = try await store(entries(20, at: round), generation, consumers, on: connection)
                            #expect(outcome.values.allSatisfy { $0 == .stored })
                            let least = try await connection.query(
                                "SELECT min(last_evt_id) FROM evt_consumers WHERE session_epoch BETWEEN 1 AND 20 AND ident LIKE 'local:C%'"
                            )
                            #expect(least.int(0, 0) == Int64(round))
                        }
                    }
                }
                group.addTask {
                    for round in 1...rounds {
                        try await TestDatabase.execute(
                            "INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:R\(round)', \(round))", on: url)
                    }
                }
                group.addTask {
                    // A discarder at work has the lock that registrations share.
                    try await TestDatabase.connected(to: TestDatabase.url(url, as: .discarder)) { connection in
                        let store = DiscardStore(try await StreamInfo.load(.standard, from: connection))
                        for _ in 1...rounds {
                            _ = try await store.delete(0, from: EventID(1), through: EventID(1000), limit: 10, on: connection)
                        }
                    }
                }
                group.addTask {
                    var done = 0
                    try await eventually("many times anew") {
                        if isDone(try await makeAnew(url)) { done += 1 }
                        return done >= 40
                    }
                }
                try await group.waitForAll()
            }
            #expect(
                try await TestDatabase.rows(
                    "SELECT count(*), min(last_evt_id) FILTER (WHERE ident LIKE 'local:C%'), sum(last_evt_id) FILTER (WHERE ident LIKE 'local:R%') FROM evt_consumers",
                    on: url) == [["\(20 + rounds)", "\(rounds)", "\(rounds * (rounds + 1) / 2)"]])
        }
    }

    @Test func theArchiversTableOfPositionsStaysSmallBesideAnOldSnapshot() async throws {
        try await Pipeline.with([.pusher]) { pipeline in
            try await pipeline.run([.archiver]) {
                try await pipeline.record("FIRST")
                try await eventually("the first event") { try await pipeline.archived() == 1 }
                try await OldSnapshot.hold(on: pipeline.warehouse) { _ in
                    // As if that many transactions had moved it.
                    try await TestDatabase.execute(
                        """
                        DO $$
                        BEGIN
                            FOR i IN 1..3000 LOOP UPDATE evt_history_positions SET last_time = now(); END LOOP;
                        END $$
                        """, on: pipeline.warehouse)
                    let size = "SELECT pg_relation_size('evt_history_positions')"
                    #expect(try await TestDatabase.number(size, on: pipeline.warehouse) > UpkeepPlan<Int>.least)
                    try await eventually("a small table") {
                        try await pipeline.record("NEXT")
                        return try await TestDatabase.number(size, on: pipeline.warehouse) <= 16 << 10
                    }
                }
                let last = try await pipeline.record("LAST")
                try await eventually("the position") {
                    try await TestDatabase.number("SELECT last_evt_id FROM evt_history_positions", on: pipeline.warehouse)
                        == Int(last[0].rawValue)
                }
            }
        }
    }

    @Test(arguments: [
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
            + "CREATE TRIGGER t BEFORE INSERT ON evt_consumers FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE TABLE mine (consumer varchar(64) REFERENCES evt_consumers (ident))",
        "CREATE PUBLICATION p FOR TABLE evt_consumers WITH (publish = 'insert, update')",
        "CREATE TABLE more () INHERITS (evt_consumers)",
        "REVOKE TRUNCATE ON evt_consumers FROM evt_pusher",
    ])
    func whatSomebodyHasAddedToTheTableIsRespected(_ change: String) async throws {
        try await TestDatabase.with(.active) { url in
            try await register(5, on: url)
            try await TestDatabase.execute(change, on: url)
            let before = try await rows(url)
            let outcome = try await makeAnew(url)
            if case .impossible = outcome {} else { Issue.record("\(outcome)") }
            #expect(try await rows(url) == before)
        }
    }
}
