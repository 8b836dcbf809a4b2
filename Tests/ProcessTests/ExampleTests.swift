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

    /// Four groups are in flight when the fifth fails, and those behind it have arrived when it comes again.
    @Test func theReceiverInPythonLosesNothingThatFailsOnce() async throws {
        try await Deployment.with { deployment in
            let size = String(repeating: "x", count: 1000)
            for number in 1...9 { try await deployment.record("WORK", "[\(number), \"\(size)\"]") }
            let pusher = try deployment.start("evt-pusher", [], ["EVT_GROUP_BYTES": "1024"])
            try await pusher.serves()
            let program = """
                import sys
                sys.path.insert(0, sys.argv[1])
                sys.dont_write_bytecode = True
                import receiver
                failing = {1, 5, 6, 9}
                def process(event):
                    if int(event["id"]) in failing:
                        failing.remove(int(event["id"]))
                        raise ValueError("poison")
                    print("processed", event["id"], flush=True)
                receiver.process = process
                receiver.Receiver(sys.argv[2], "PY").run()
                """
            let endpoint = try #require(deployment.environment["EVT_PUSHER_CONNECT"])
            let receiver = try deployment.start(ChildProcess.python, ["-c", program, Self.examples, endpoint])
            try await eventually("the position") { try await deployment.position(of: "PY") == 9 }
            let processed = receiver.output.split(separator: "\n").filter { $0.hasPrefix("processed") }
            #expect(processed == (1...9).map { "processed \($0)" })
            receiver.signal(SIGKILL)
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test func theReceiverInPythonKeepsItsSessionWhileItWorks() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher", [], ["EVT_SESSION_TIMEOUT": "1s", "EVT_ACK_TIMEOUT": "500ms"])
            try await pusher.serves()
            try await deployment.register("PY")
            let ids = [try await deployment.record("WORK"), try await deployment.record("WORK")]
            let program = """
                import os, sys, time
                sys.path.insert(0, sys.argv[1])
                sys.dont_write_bytecode = True
                import receiver
                def process(event):
                    print("begins", event["id"], flush=True)
                    while not os.path.exists(sys.argv[3]):
                        time.sleep(0.02)
                    print("processed", event["id"], flush=True)
                receiver.process, receiver.KEEP_ALIVE = process, 0.2
                receiver.Receiver(sys.argv[2], "PY").run()
                """
            let endpoint = try #require(deployment.environment["EVT_PUSHER_CONNECT"])
            try await ScratchDirectory.with { directory in
                let gate = "\(directory)/gate"
                let receiver = try deployment.start(ChildProcess.python, ["-c", program, Self.examples, endpoint, gate])
                try await eventually("work") { receiver.output.contains("begins \(ids[0])") }
                let session = "SELECT session_owner, session_epoch FROM evt_consumers"
                let before = try await TestDatabase.rows(session, on: deployment.active)
                // Five of these are a timeout.
                let beat = "SELECT beat FROM evt_queue_pushers"
                let first = try await TestDatabase.number(beat, on: deployment.active)
                try await eventually("some timeouts") { try await TestDatabase.number(beat, on: deployment.active) > first + 15 }
                #expect(try await TestDatabase.rows(session, on: deployment.active) == before && before[0][0] != nil)
                #expect(FileManager.default.createFile(atPath: gate, contents: nil))
                try await eventually("the position") { try await deployment.position(of: "PY") == ids[1] }
                let lines = receiver.output.split(separator: "\n").filter { $0.hasPrefix("begins") || $0.hasPrefix("processed") }
                #expect(lines == ids.flatMap { ["begins \($0)", "processed \($0)"] }.map { Substring($0) })
                receiver.signal(SIGKILL)
            }
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
