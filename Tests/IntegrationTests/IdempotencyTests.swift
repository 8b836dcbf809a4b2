import EventStream
import EventStreamDiscarder
import LibPQ
import TestSupport
import Testing

/// Recording that is repeated: what evt_add promises for an idempotency key, in every order of transactions and rotations.
@Suite(.serialized) struct IdempotencyTests {
    private static func add(_ key: String = "k", _ data: String = "1", _ more: String = "") -> String {
        "SELECT evt_add('ONCE', '\(data)', idempotency_key => '\(key)'\(more))"
    }

    private static func count(_ url: String) async throws -> Int {
        try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: url)
    }

    private static func state(_ body: () async throws -> Void) async -> SQLState? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? PostgresError)?.sqlState
        }
    }

    /// Empties the table whose turn it is, as if the window had just passed.
    private static func rotate(_ url: String) async throws {
        try await TestDatabase.execute("SELECT evt_queue_rotate('0')", on: url)
    }

    @Test func aRepeatReturnsTheFirstIdAndRecordsNothing() async throws {
        try await TestDatabase.with(.active) { url in
            let app = TestDatabase.url(url, as: .app)
            let first = try await TestDatabase.number(Self.add(), on: app)
            for call in [
                Self.add(), "SELECT evt_add('ONCE', '1'::json, idempotency_key => 'k')",
                "SELECT evt_add('ONCE', '1'::jsonb, idempotency_key => 'k')",
            ] { #expect(try await TestDatabase.number(call, on: app) == first) }
            // Twice in one transaction, in one statement, too; and the meta of the transaction is not the call's.
            try await TestDatabase.connected(to: app) { connection in
                try await connection.query("SET eventstream.meta = '{\"trace\": 1}'")
                let row = try await connection.query(Statement("\(Self.add("l")), (\(Self.add("l"))), (\(Self.add("k")))"))
                #expect(row.string(0, 0) == row.string(0, 1) && row.int(0, 2) == Int64(first))
            }
            #expect(try await Self.count(url) == 2)
        }
    }

    @Test(arguments: ["'TWICE', '1'", "'ONCE', '1.0'", "'ONCE', ' 1'", "'ONCE', '1', key => 'a'", "'ONCE', '1', meta => '{}'"])
    func otherContentIsRefused(content: String) async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute(Self.add(), on: url)
            for rotations in 0..<2 {
                // Wherever the key is found.
                if rotations > 0 { try await Self.rotate(url) }
                let error = await #expect(throws: PostgresError.self) {
                    try await TestDatabase.execute("SELECT evt_add(\(content), idempotency_key => 'k')", on: url)
                }
                #expect(error?.sqlState == "EVT02")
                #expect(error?.message == "the idempotency key 'k' was used for another event")
            }
            #expect(try await Self.count(url) == 1)
        }
    }

    @Test func keyAndMetaAreToldApart() async throws {
        try await TestDatabase.with(.active) { url in
            for (number, content) in ["key => 'a'", "key => 'a ', meta => '{}'", "key => 'a', meta => ' {}'"].enumerated() {
                let call = "SELECT evt_add('ONCE', '1', \(content), idempotency_key => 'k')"
                let state = await Self.state { try await TestDatabase.execute(call, on: url) }
                #expect(state == (number == 0 ? nil : "EVT02"), "\(content)")
            }
        }
    }

    @Test func aRollbackFreesTheKey() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.connected(to: url) { connection in
                for sql in ["BEGIN", Self.add(), "ROLLBACK", "BEGIN", "SAVEPOINT s", Self.add("k", "2"), "ROLLBACK TO s"] {
                    try await connection.query(Statement(sql))
                }
                let id = try await connection.query(Statement(Self.add("k", "3"))).int(0, 0)
                try await connection.query("COMMIT")
                #expect(try await connection.query(Statement(Self.add("k", "3"))).int(0, 0) == id)
            }
            #expect(try await TestDatabase.rows("SELECT data FROM evt_queue", on: url) == [["3"]])
        }
    }

    /// Runs a call beside an open transaction, and goes on when it waits.
    private static func waiting(
        _ call: String, on url: String, _ meanwhile: () async throws -> Void
    ) async throws -> Result<Int, any Error> {
        let task = Task { try await TestDatabase.number(call, on: url) }
        try await eventually("a call that waits") {
            try await TestDatabase.number(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", on: url)
                > 0
        }
        try await meanwhile()
        return await task.result
    }

    @Test(arguments: ["COMMIT", "ROLLBACK"]) func aConcurrentSecondCallWaits(end: String) async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.connected(to: url) { connection in
                try await connection.query("BEGIN")
                let first = try await connection.query(Statement(Self.add())).int(0, 0).map { Int($0) }
                let second = try await Self.waiting(Self.add(), on: url) { try await connection.query(Statement(end)) }
                #expect(try await Self.count(url) == 1)
                let id = try await TestDatabase.number("SELECT id FROM evt_queue", on: url)
                #expect(try second.get() == id && (id == first) == (end == "COMMIT"))
            }
        }
    }

    @Test(arguments: ["REPEATABLE READ", "SERIALIZABLE"], [0, 1])
    func aSnapshotThatDoesNotSeeTheKeyFails(isolation: String, rotations: Int) async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.connected(to: url) { connection in
                try await connection.query(Statement("BEGIN ISOLATION LEVEL \(isolation)"))
                try await connection.query("SELECT count(*) FROM evt_queue")
                try await TestDatabase.execute(Self.add(), on: url)
                for _ in 0..<rotations { try await Self.rotate(url) }
                let state = await Self.state { try await connection.query(Statement(Self.add())) }
                #expect(state == "40001")
                try await connection.query("ROLLBACK")
                // Again, with a snapshot that sees the key.
                try await connection.query(Statement("BEGIN ISOLATION LEVEL \(isolation)"))
                #expect(try await connection.query(Statement(Self.add())).int(0, 0) == 1)
                try await connection.query("COMMIT")
            }
            #expect(try await Self.count(url) == 1)
        }
    }

    // MARK: Rotation

    private static func emptied(_ url: String) async throws -> [[String?]] {
        try await TestDatabase.rows("SELECT a_emptied, b_emptied FROM evt_queue_rotation", on: url)
    }

    @Test func aTableIsEmptiedOnlyWhenTheOtherOneIsOldEnough() async throws {
        try await TestDatabase.with(.active) { url in
            func age(a: Int, b: Int) async throws {
                try await TestDatabase.execute(
                    "UPDATE evt_queue_rotation SET a_emptied = now() - interval '\(a) s', b_emptied = now() - interval '\(b) s'",
                    on: url)
            }
            func rotated() async throws -> Bool {
                try await TestDatabase.rows("SELECT evt_queue_rotate('100 s')", on: TestDatabase.url(url, as: .discarder)) == [
                    ["t"]
                ]
            }
            for (a, b, isDue) in [
                (50, 50, false), (1000, 50, false), (50, 1000, false), (-5, 1000, false), (150, 1000, true), (150, 150, true),
            ] {
                try await age(a: a, b: b)
                let before = try await Self.emptied(url)
                #expect(try await rotated() == isDue, "\(a) \(b)")
                #expect((try await Self.emptied(url) != before) == isDue)
                #expect(try await !rotated())
            }
        }
    }

    @Test func aKeyIsKnownAcrossOneRotationAndForgottenAfterTwo() async throws {
        try await TestDatabase.with(.active) { url in
            for key in ["k", "l"] { try await TestDatabase.execute(Self.add(key), on: url) }
            try await Self.rotate(url)
            #expect(try await TestDatabase.number(Self.add(), on: url) == 1)
            try await Self.rotate(url)
            // The repeat has carried the key over.
            #expect(try await TestDatabase.number(Self.add(), on: url) == 1)
            #expect(try await TestDatabase.number(Self.add("l"), on: url) == 3)
            #expect(try await TestDatabase.number(Self.add("l"), on: url) == 3)
        }
    }

    @Test func aCallThatWaitsBetweenTheTablesIsKnownAfterwards() async throws {
        try await TestDatabase.with(.active) { url in
            // a is emptied; then b is, while the call has inserted into a and waits before b.
            try await Self.rotate(url)
            try await TestDatabase.connected(to: url) { connection in
                try await connection.query("BEGIN")
                try await connection.query("SELECT evt_queue_rotate('0')")
                let call = try await Self.waiting(Self.add(), on: url) { try await connection.query("COMMIT") }
                #expect(try call.get() == 1)
            }
            for table in ["a", "b"] {
                #expect(
                    try await TestDatabase.rows("SELECT idempotency_key, id FROM evt_queue_keys_\(table)", on: url) == [
                        ["k", "1"]
                    ])
            }
            try await Self.rotate(url)
            #expect(try await TestDatabase.number(Self.add(), on: url) == 1)
        }
    }

    @Test func anOpenTransactionKeepsItsTablesFromBeingEmptiedAndNobodyWaitsLong() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.connected(to: url) { connection in
                try await connection.query("BEGIN")
                try await connection.query(Statement(Self.add()))
                for turn in ["a_emptied = b_emptied - interval '1 s'", "b_emptied = a_emptied - interval '1 s'"] {
                    try await TestDatabase.execute("UPDATE evt_queue_rotation SET \(turn)", on: url)
                    let state = await Self.state { try await Self.rotate(url) }
                    #expect(state == .lockNotAvailable)
                }
                try await connection.query("COMMIT")
            }
            try await Self.rotate(url)
            #expect(try await TestDatabase.number(Self.add(), on: url) == 1)
        }
    }

    @Test func theDiscarderRemovesOldKeys() async throws {
        try await Pipeline.with([]) { pipeline in
            try await TestDatabase.execute(Self.add(), on: TestDatabase.url(pipeline.active, as: .app))
            try await pipeline.run([.discarder], discarder: { $0.idempotencyWindow = .seconds(1) }) {
                try await eventually("no keys") {
                    try await TestDatabase.number(
                        "SELECT (SELECT count(*) FROM evt_queue_keys_a) + (SELECT count(*) FROM evt_queue_keys_b)",
                        on: pipeline.active)
                        == 0
                }
            }
            let apart = try await TestDatabase.rows(
                "SELECT abs(EXTRACT(EPOCH FROM a_emptied - b_emptied)) >= 1 FROM evt_queue_rotation", on: pipeline.active)
            #expect(apart == [["t"]])
        }
    }
}
