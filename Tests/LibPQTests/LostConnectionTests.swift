import TestSupport
import Testing

@testable import LibPQ

@Suite(.serialized) struct LostConnectionTests {
    private static func terminate(_ connection: Connection, url: String) async throws {
        try await TestDatabase.execute("SELECT pg_terminate_backend(\(connection.backendProcessID))", on: url)
    }

    /// Waits until the connection's backend carries out a command that sleeps.
    private static func waitUntilAsleep(_ connection: Connection, url: String) async throws {
        let sql =
            "SELECT count(*) FROM pg_stat_activity"
            + " WHERE pid = \(connection.backendProcessID) AND wait_event = 'PgSleep'"
        try await eventually("the statement is under way") { try await TestDatabase.number(sql, on: url) == 1 }
    }

    @Test func anIdleConnectionNoticesItsLossOnce() async throws {
        try await withConnection { connection, url in
            let losses = Log<PostgresError>()
            connection.onLost = { losses.add($0) }
            try await Self.terminate(connection, url: url)
            try await eventually("the loss is noticed") { !connection.isOpen }
            #expect(losses.entries.map(\.code) == [.connectionLost])
            #expect(losses.entries.first?.isRetriable == true)
            connection.close()
            #expect(losses.count == 1)
        }
    }

    @Test func aCommandGivenToALostConnectionWasNeverExecuted() async throws {
        try await withConnection { connection, url in
            try await Self.terminate(connection, url: url)
            try await eventually("the loss is noticed") { !connection.isOpen }
            let query = await failure { try await connection.query("SELECT 1") }
            let script = await failure { try await connection.script("SELECT 1") }
            let copyIn = await failure { try await connection.copyIn("COPY t FROM STDIN", from: CopySource([])) }
            let copyOut = await failure { try await connection.copyOut("COPY t TO STDOUT") { _ in } }
            for error in [query, script, copyIn, copyOut] {
                #expect(error?.code == .connectionLost)
                #expect(error?.mayHaveBeenExecuted == false)
            }
        }
    }

    @Test func whatWasSentMayHaveBeenExecutedAndWhatWaitedWasNot() async throws {
        try await withConnection { connection, url in
            let outcomes = Log<PostgresError?>()
            let losses = Log<Int>()
            connection.onLost = { _ in losses.add(outcomes.count) }
            connection.submit("SELECT pg_sleep(3600)") { outcomes.add($0.error) }
            for _ in 0..<5 { connection.submit("SELECT 1") { outcomes.add($0.error) } }
            connection.submit(Command(.script("SELECT 1")) { outcomes.add($0.error) })
            connection.submit("SELECT 2") { outcomes.add($0.error) }
            try await Self.waitUntilAsleep(connection, url: url)
            try await Self.terminate(connection, url: url)
            try await eventually("all are answered") { outcomes.count == 8 }
            try await eventually("the loss is noticed") { !connection.isOpen }
            let errors = outcomes.entries
            #expect(errors.map { $0?.mayHaveBeenExecuted } == [true, true, true, true, true, true, false, false])
            #expect(errors.dropFirst().allSatisfy { $0?.code == .connectionLost })
            #expect(errors.allSatisfy { $0?.isRetriable == true })
            #expect(losses.entries == [8], "the owner is told once, after every command")
            #expect(connection.outstanding == 0)
        }
    }

    @Test func aScriptUnderWayMayHaveBeenExecuted() async throws {
        try await withConnection { connection, url in
            try await connection.script("CREATE TABLE t (n bigint)")
            let outcomes = Log<PostgresError?>()
            connection.submit(
                Command(.script("INSERT INTO t VALUES (1); COMMIT; SELECT pg_sleep(3600)")) { outcomes.add($0.error) })
            try await Self.waitUntilAsleep(connection, url: url)
            try await Self.terminate(connection, url: url)
            try await eventually("the script is answered") { outcomes.count == 1 }
            try await eventually("the loss is noticed") { !connection.isOpen }
            let stored = try await TestDatabase.number("SELECT count(*) FROM t", on: url)
            #expect(stored == 1)
            #expect(outcomes.entries.first??.mayHaveBeenExecuted == true)
            #expect(outcomes.entries.first??.isRetriable == true)
        }
    }

    @Test func aCopyOutUnderWayEndsWithTheConnection() async throws {
        try await withConnection { connection, url in
            let outcomes = Log<PostgresError?>()
            let rows = Log<Int>()
            connection.submit(
                Command(
                    .copyOut(
                        "COPY (SELECT n, CASE WHEN n = 5000 THEN pg_sleep(3600) END FROM generate_series(1, 5000) n)"
                            + " TO STDOUT",
                        sink: { rows.add($0.count) })
                ) { outcomes.add($0.error) })
            try await Self.waitUntilAsleep(connection, url: url)
            try await Self.terminate(connection, url: url)
            try await eventually("the copy is answered") { outcomes.count == 1 }
            try await eventually("the loss is noticed") { !connection.isOpen }
            #expect(outcomes.entries.first??.isRetriable == true)
            #expect(rows.count < 5000)
        }
    }

    @Test func aCopyInUnderWayEndsWithTheConnection() async throws {
        try await withConnection { connection, url in
            try await connection.script(BlockingTable.sql)
            let blocker = try await Connection.open(url, on: connection.loop)
            try await blocker.query("SELECT pg_advisory_lock(1)")
            let source = BlockingTable.Source()
            let outcomes = Log<PostgresError?>()
            connection.submit(
                Command(.copyIn(BlockingTable.copy, source: source.source)) { outcomes.add($0.error) })
            try await BlockingTable.waitUntilBlocked(url: url)
            try await Self.terminate(connection, url: url)
            try await eventually("the copy is answered") { outcomes.count == 1 }
            try await eventually("the loss is noticed") { !connection.isOpen }
            #expect(outcomes.entries.first??.isRetriable == true)
            #expect(outcomes.entries.first??.mayHaveBeenExecuted == true)
        }
    }

    @Test func aConnectionMayBeLetGoWhenItIsLost() async throws {
        try await withConnection { connection, url in
            let owner = Owner()
            let other = try await Connection.open(url, on: connection.loop)
            let processID = other.backendProcessID
            owner.hold(other)
            try await TestDatabase.execute("SELECT pg_terminate_backend(\(processID))", on: url)
            try await eventually("the loss is noticed") { owner.connection == nil }
            try await connection.expectUsable()
        }
    }

    private final class Owner {
        var connection: Connection?

        func hold(_ connection: Connection) {
            self.connection = connection
            connection.onLost = { [unowned self] _ in self.connection = nil }
        }
    }
}
