import EventStream
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// What the database sees to, whoever writes and however.
@Suite(.serialized) struct WriterGuardTests {
    /// As on a logical replica that is made the primary: rows are carried over, sequences are not.
    private static let carriedOver = "UPDATE evt_queue_state SET settled = 5000, discarded = 4990"

    @Test(arguments: [
        carriedOver, "UPDATE evt_queue_state SET discarded = 7",
        "INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:FAR', 3)",
    ])
    func anIdThatWasPassedIsRefusedWhereNothingWasEverMarked(_ carried: String) async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute(carried, on: url)
            for login in [url, TestDatabase.url(url, as: .app)] {
                let error = await Self.failure { try await TestDatabase.execute("SELECT evt_add('LATE', '1')", on: login) }
                #expect(error.contains("have been delivered"), "\(error)")
            }
            let plain = await Self.failure {
                try await TestDatabase.execute(
                    "INSERT INTO evt_queue (type, data) VALUES ('LATE', '1')", on: TestDatabase.url(url, as: .generator))
            }
            #expect(plain.contains("have been delivered") && plain.contains("setval"), "\(plain)")
            #expect(try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: url) == 0)
            try await TestDatabase.execute("SELECT setval('evt_queue_id_seq', 5000)", on: url)
            #expect(try await TestDatabase.number("SELECT evt_add('FINE', '1')", on: url) == 5001)
        }
    }

    @Test func theIdThatEqualsWhatWasPassedIsRefusedToo() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute("UPDATE evt_queue_state SET settled = 3", on: url)
            try await TestDatabase.execute("SELECT setval('evt_queue_id_seq', 2)", on: url)
            var error = await Self.failure { try await TestDatabase.execute("SELECT evt_add('EQUAL', '1')", on: url) }
            #expect(error.contains("events up to 3 have been delivered"), "\(error)")
            try await TestDatabase.execute("SELECT setval('evt_queue_settled', 3), setval('evt_queue_id_seq', 2)", on: url)
            error = await Self.failure { try await TestDatabase.execute("SELECT evt_add('EQUAL', '1')", on: url) }
            #expect(error.contains("events up to 3 have been delivered"), "\(error)")
            // In a transaction of its own kind, too: a savepoint, and a snapshot of before.
            try await TestDatabase.connected(to: url) { connection in
                try await connection.query("SELECT setval('evt_queue_id_seq', 2)")
                try await connection.query("BEGIN ISOLATION LEVEL SERIALIZABLE")
                try await connection.query("SAVEPOINT s")
                let error = await Self.failure { _ = try await connection.query("SELECT evt_add('EQUAL', '1')") }
                #expect(error.contains("events up to 3 have been delivered"), "\(error)")
                try await connection.query("ROLLBACK")
            }
            #expect(try await TestDatabase.number("SELECT evt_add('NEXT', '1')", on: url) == 4)
        }
    }

    @Test func idsThatAreGivenAndNotDrawnAreTaken() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute(Self.carriedOver, on: url)
            let rows = "INSERT INTO evt_queue (id, type, data) VALUES"
            // A dump of the rows alone: the sequence comes after the rows.
            try await TestDatabase.execute("\(rows) (4991, 'RESTORED', '1'), (4992, 'RESTORED', '2')", on: url)
            try await TestDatabase.execute("SELECT setval('evt_queue_id_seq', 5000)", on: url)
            // In a session that has drawn one, which was delivered since.
            try await TestDatabase.connected(to: url) { connection in
                try await connection.query("SELECT evt_add('DRAWN', '1')")
                for setting in ["UPDATE evt_queue_state SET settled = 5001", "SELECT setval('evt_queue_settled', 5001)"] {
                    try await connection.query(Statement(setting))
                    try await connection.query(
                        Statement("\(rows) (\(setting.hasPrefix("UPDATE") ? 6001 : 6002), 'BY_HAND', '1')"))
                }
            }
            #expect(try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: url) == 5)
        }
    }

    /// A trigger that fires for some writers only keeps its promises to some.
    @Test func writersThatAreReplicasWaitForTheDiskWakeThePusherAndKeepToTheSequence() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.connected(to: url) { connection in
                try await connection.query("SET session_replication_role = replica")
                try await connection.query("SET synchronous_commit = off")
                let info = try await StreamInfo.load(.standard, from: connection)
                try await connection.query(Statement("LISTEN \(quotedIdentifier(info.channel))"))
                var isNotified = false
                connection.onNotification = { _ in isNotified = true }
                // Who holds the latch sleeps.
                let sleeper = try await Connection.open(url, on: connection.loop)
                defer { sleeper.close() }
                try await sleeper.query("SELECT pg_advisory_lock($1::bigint)", [.int8(info.key(of: .latch))])
                for way in ["SELECT evt_add('REPLICA', '1')", "INSERT INTO evt_queue (type, data) VALUES ('REPLICA', '1')"] {
                    isNotified = false
                    try await connection.query("BEGIN")
                    try await connection.query(Statement(way))
                    #expect(try await connection.query("SHOW synchronous_commit").string(0, 0) == "on")
                    try await connection.query("COMMIT")
                    try await eventually("the wake-up") {
                        try await connection.query("SELECT")
                        return isNotified
                    }
                }
                // Registering shares the discarder's lock.
                try await sleeper.query("SELECT pg_advisory_lock($1::bigint)", [.int8(info.key(of: .discard))])
                try await connection.query("SET lock_timeout = '50ms'")
                let error = await Self.failure {
                    try await connection.query("INSERT INTO evt_consumers (ident) VALUES ('local:NEW')")
                }
                #expect(error.contains("55P03"), "\(error)")
                try await connection.query("SELECT setval('evt_queue_settled', 9000)")
                let passed = await Self.failure { _ = try await connection.query("SELECT evt_add('PASSED', '1')") }
                #expect(passed.contains("have been delivered"))
            }
        }
    }

    @Test func anEventOverTheLimitIsRefusedInWords() async throws {
        try await TestDatabase.with(.active) { url in
            let limit = 8 * 1024 * 1024 - 4096
            let app = TestDatabase.url(url, as: .app)
            let id = try await TestDatabase.number(Self.adding(bytes: limit), on: app)
            #expect(id == 1)
            let error = await Self.failure { try await TestDatabase.execute(Self.adding(bytes: limit + 1), on: app) }
            #expect(error.contains("\(limit + 1) bytes, and the limit is \(limit) bytes"), "\(error)")
            #expect(error.contains("23514"))
        }
    }

    private static func adding(bytes: Int) -> String {
        "SELECT evt_add('LARGE', ('\"' || repeat('x', \(bytes - 2)) || '\"')::json)"
    }

    static func failure(_ body: () async throws -> Void) async -> String {
        do {
            try await body()
            return "nothing failed"
        } catch {
            return "\(error)"
        }
    }
}
