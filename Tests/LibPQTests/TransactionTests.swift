import LibPQ
import TestSupport
import Testing

@Suite(.serialized) struct TransactionTests {
    private struct Refused: Error {}

    @Test func whatATransactionDidIsThereForOthersOnceItReturns() async throws {
        try await withConnection { connection, url in
            try await connection.script("CREATE TABLE t (n bigint)")
            let seenWithin = try await connection.transaction {
                try await connection.query("INSERT INTO t VALUES (1)")
                return try await TestDatabase.number("SELECT count(*) FROM t", on: url)
            }
            let seenAfter = try await TestDatabase.number("SELECT count(*) FROM t", on: url)
            #expect(seenWithin == 0)
            #expect(seenAfter == 1)
        }
    }

    @Test func aBodyThatThrowsIsRolledBack() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            var thrown: (any Error)?
            do {
                try await connection.transaction {
                    try await connection.query("INSERT INTO t VALUES (1)")
                    throw Refused()
                }
            } catch { thrown = error }
            #expect(thrown is Refused)
            let stored = try await connection.value("SELECT count(*) FROM t")
            #expect(stored == "0")
            try await connection.expectUsable()
        }
    }

    @Test func aFailedStatementRollsBackAndIsTheErrorSeen() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let error = await failure {
                try await connection.transaction {
                    try await connection.query("INSERT INTO t VALUES (1)")
                    try await connection.query("SELECT 1 / 0")
                }
            }
            #expect(error?.sqlState == "22012")
            let stored = try await connection.value("SELECT count(*) FROM t")
            #expect(stored == "0")
        }
    }

    @Test func aFailureAtCommitIsThrown() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            let error = await failure {
                try await connection.transaction { _ = try await connection.query("INSERT INTO t VALUES (1), (1)") }
            }
            #expect(error?.sqlState == "23505")
            try await connection.expectUsable()
        }
    }

    /// COMMIT of an aborted transaction succeeds and rolls back; who is told "committed" would lose data.
    @Test func aTransactionWhoseBodyHidAFailureIsNotReportedAsCommitted() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let error = await failure {
                try await connection.transaction {
                    try await connection.query("INSERT INTO t VALUES (1)")
                    _ = try? await connection.query("SELECT 1 / 0")
                }
            }
            let stored = try await connection.value("SELECT count(*) FROM t")
            #expect(stored == "0")
            #expect(error != nil, "the transaction was rolled back, but reported as committed")
        }
    }

    @Test func aScriptIsOneTransaction() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let error = await failure {
                try await connection.script("INSERT INTO t VALUES (1); SELECT 1 / 0; INSERT INTO t VALUES (2)")
            }
            #expect(error?.sqlState == "22012")
            let stored = try await connection.value("SELECT count(*) FROM t")
            #expect(stored == "0")
            try await connection.expectUsable()
        }
    }

    @Test func aScriptReturnsTheRowsOfItsLastStatement() async throws {
        try await withConnection { connection, _ in
            let rows = try await connection.script("SELECT 1; SELECT 'a' UNION ALL SELECT 'b'")
            #expect(rows.count == 2)
            let nothing = try await connection.script("")
            #expect(nothing.count == 0)
        }
    }

    @Test func aScriptMayHoldItsOwnTransactions() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let error = await failure {
                try await connection.script("BEGIN; INSERT INTO t VALUES (1); COMMIT; SELECT 1 / 0")
            }
            #expect(error?.sqlState == "22012")
            let stored = try await connection.value("SELECT count(*) FROM t")
            #expect(stored == "1")
        }
    }
}
