import Foundation
import TestSupport
import Testing

/// The examples of etc/examples do what they say.
@Suite(.serialized) struct ExampleTests {
    private static let examples = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "etc/examples").path

    @Test func theGeneratorInPythonRecordsAnEvent() async throws {
        try await Deployment.with { deployment in
            let generator = try deployment.start("evt-generator")
            try await generator.serves()
            let added = try await ChildProcess.run(
                ChildProcess.python, ["\(Self.examples)/generator.py", "PYTHON", "{\"a\": [1, 2]}"],
                environment: deployment.environment)
            #expect(added.text == "1\n")
            #expect(try await TestDatabase.rows("SELECT type FROM evt_queue", on: deployment.active) == [["PYTHON"]])
            #expect(try await generator.terminate().status == 0)
        }
    }

    @Test func theReceiverInPythonGetsEverythingAndConfirmsIt() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            let receiver = try deployment.start(ChildProcess.python, ["\(Self.examples)/receiver.py", "PY"])
            for number in 1...20 { try await deployment.record("WORK", "\(number)") }
            let expected = (1...20).map { "\($0) WORK \($0)" }
            try await eventually("all events") {
                // What it says about a pusher that is not ready yet goes to the same file.
                receiver.output.split(separator: "\n").map(String.init).filter { $0.contains(" WORK ") } == expected
            }
            try await eventually("the position") { try await deployment.position(of: "PY") == 20 }
            // Ctrl-C ends it without a traceback.
            receiver.signal(SIGINT)
            #expect(try await receiver.ended().status == 130)
            #expect(!receiver.output.contains("Traceback"))
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test func theSubscriberInPythonSeesLiveEventsOfItsFamily() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            let subscriber = try deployment.start(ChildProcess.python, ["\(Self.examples)/subscriber.py", "USR_"])
            try await eventually("an event of the family") {
                try await deployment.record("OTHER")
                try await deployment.record("USR_ADD")
                return subscriber.output.contains("USR_ADD {\"id\":")
            }
            #expect(!subscriber.output.contains("OTHER"))
            subscriber.signal(SIGKILL)
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test func theTransactionInPsqlRecordsWithItsData() async throws {
        try await Deployment.with { deployment in
            let psql = try await ChildProcess.run(
                "/usr/bin/env",
                ["psql", "-X", "-v", "ON_ERROR_STOP=1", deployment.active, "-f", "\(Self.examples)/transaction.sql"])
            #expect(psql.status == 0, "\(psql.text)")
            let rows = try await TestDatabase.rows("SELECT type, data ->> 'order' FROM evt_queue", on: deployment.active)
            #expect(rows == [["ORDER_NEW", "1"]])
        }
    }
}
