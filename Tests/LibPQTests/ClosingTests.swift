import TestSupport
import Testing

@testable import LibPQ

@Suite(.serialized) struct ClosingTests {
    @Test func closingFailsWhatIsOutstanding() async throws {
        try await withConnection { connection, _ in
            let outcomes = Log<PostgresError?>()
            connection.submit("SELECT 1") { outcomes.add($0.error) }
            connection.submit(Command(.script("SELECT 1")) { outcomes.add($0.error) })
            connection.close()
            #expect(outcomes.entries.map { $0?.code } == [.closed, .closed])
            #expect(outcomes.entries.map { $0?.mayHaveBeenExecuted } == [true, false])
            #expect(outcomes.entries.allSatisfy { $0?.isRetriable == false })
            #expect(connection.outstanding == 0)
        }
    }

    @Test func aClosedConnectionTakesNoMoreCommandsAndClosesAgainQuietly() async throws {
        try await withConnection { connection, _ in
            connection.onLost = { Issue.record("lost, although we closed it: \($0)") }
            connection.close()
            #expect(!connection.isOpen)
            let error = await failure { try await connection.query("SELECT 1") }
            #expect(error?.code == .closed)
            #expect(error?.mayHaveBeenExecuted == false)
            connection.close()
        }
    }

    @Test func aCompletionMayCloseTheConnection() async throws {
        try await withConnection { connection, _ in
            let outcomes = Log<String?>()
            for number in 0..<10 {
                connection.submit("SELECT $1::bigint", [.int8(Int64(number))]) {
                    outcomes.add($0.text ?? $0.error?.code.rawValue)
                    if number == 4 { connection.close() }
                }
            }
            try await eventually("all are answered") { outcomes.count == 10 }
            #expect(outcomes.entries == ["0", "1", "2", "3", "4"] + Array(repeating: "closed", count: 5))
        }
    }

    @Test func aSinkMayCloseTheConnection() async throws {
        try await withConnection { connection, _ in
            let error = await failure {
                try await connection.copyOut("COPY (SELECT generate_series(1, 100000)) TO STDOUT") { _ in
                    connection.close()
                }
            }
            #expect(error?.code == .closed)
        }
    }

    /// Locks and LISTENs of a session end with it; whoever closes a connection counts on that.
    @Test func closingEndsTheSessionEvenWhileTheConnectionIsStillHeld() async throws {
        try await withConnection { connection, url in
            let other = try await Connection.open(url, on: connection.loop)
            let processID = other.backendProcessID
            try await other.query("SELECT pg_advisory_lock(1)")
            other.close()
            try await eventually("the session ends") {
                let sessions = try await connection.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid = \(processID)")
                return sessions == "0"
            }
            #expect(!other.isOpen)
        }
    }

    @Test func lettingGoOfAConnectionEndsItsSession() async throws {
        try await withConnection { connection, url in
            var other: Connection? = try await Connection.open(url, on: connection.loop)
            let processID = other?.backendProcessID ?? 0
            other = nil
            try await eventually("the session ends") {
                let sessions = try await connection.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid = \(processID)")
                return sessions == "0"
            }
        }
    }
}
