import Glibc
import TestSupport
import Testing

@testable import LibPQ

/// A server that owes an answer and says nothing, over a connection that TCP takes for alive.
@Suite(.serialized) struct SilenceTests {
    private static func options(_ url: String) -> ConnectionOptions {
        // A busy server needs longer than a moment to show that it is at work.
        ConnectionOptions(url, applicationName: "silence", answerTimeout: .seconds(3))
    }

    @Test func aServerThatIsNotAtWorkOnTheAnswerIsGivenUp() async throws {
        try await TestDatabase.with(.empty) { url in
            try await onLoop { loop in
                let connection = try await Connection.open(Self.options(url), on: loop)
                let losses = Log<PostgresError>()
                connection.onLost = { losses.add($0) }
                // As when a machine between the two hangs: the command does not get there.
                try await connection.query("SELECT 1")
                let backend = connection.backendProcessID
                kill(backend, SIGSTOP)
                defer { kill(backend, SIGCONT) }
                let error = await failure { try await connection.query("SELECT 1") }
                #expect(error?.code == .connectionLost)
                #expect(error?.mayHaveBeenExecuted == true)
                #expect(losses.count == 1)
                #expect(losses.entries.first?.message.contains("no answer for") == true)
            }
        }
    }

    @Test func aServerThatIsAtWorkMayTakeItsTime() async throws {
        try await TestDatabase.with(.empty) { url in
            try await onLoop { loop in
                let connection = try await Connection.open(Self.options(url), on: loop)
                defer { connection.close() }
                let slow = Log<Result<Rows, PostgresError>>()
                connection.submit("SELECT pg_sleep(3600)") { slow.add($0) }
                try await eventually("three inquiries") { (connection.silence?.inquiries ?? 0) >= 3 }
                #expect(connection.isOpen && slow.count == 0)
                try await TestDatabase.execute("SELECT pg_cancel_backend(\(connection.backendProcessID))", on: url)
                try await eventually("the answer") { slow.count == 1 }
                #expect(connection.isOpen)
            }
        }
    }
}
