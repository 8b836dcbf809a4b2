import Foundation
import TestSupport
import Testing

/// The built binaries, together.
@Suite(.serialized) struct PipelineTests {
    @Test func `an event goes through all four processes and each stops cleanly`() async throws {
        try await Deployment.with { deployment in
            let processes = try Deployment.roles.map { try deployment.start($0) }
            try await processes[0].serves()
            #expect(try await deployment.evt("add", "HELLO", "{\"to\": \"the archive\"}").text == "1\n")
            try await deployment.record("HELLO", "2")
            try await eventually("the archive") { try await deployment.archived() == 2 }
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            for process in processes {
                let end = try await process.terminate()
                #expect(end.status == 0, "\(end.text)")
            }
            #expect(try await deployment.position(of: "ARCHIVER") == 2)
        }
    }

    @Test func eventsOfTheEarliestAndTheLatestTimeGoThrough() async throws {
        try await Deployment.with { deployment in
            try await TestDatabase.execute(
                """
                INSERT INTO evt_queue (type, data, ts)
                VALUES ('EARLIEST', '1', '0001-01-01'), ('LATEST', '2', '9999-12-31 23:59:59.999999')
                """, on: deployment.active)
            var processes = try ["evt-pusher", "evt-archiver"].map { try deployment.start($0) }
            let tail = try await deployment.evt("tail", "--component", "TIMELESS", "--count", "2")
            for time in ["0001-01-01", "9999-12-31"] { #expect(tail.text.contains(time), "\(tail.text)") }
            let poll = try await deployment.evt("poll", "LIVE")
            #expect(poll.status == 0 && poll.text.contains("LATEST"), "\(poll.text)")
            #expect(try await deployment.evt("status").status == 0)
            try await eventually("the archive") { try await deployment.archived() == 2 }
            processes.append(try deployment.start("evt-discarder", [], ["EVT_DISCARD_REQUIRE": "ARCHIVER"]))
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            for process in processes {
                let end = try await process.terminate()
                #expect(end.status == 0, "\(end.text)")
            }
        }
    }

    @Test func positionsAreStoredWhenThePusherIsToldToStop() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            for number in 1...50 { try await deployment.record("STOP", "\(number)") }
            let tail = try await deployment.evt("tail", "--component", "STOPPED", "--count", "50")
            #expect(tail.text.split(separator: "\n").count == 50)
            let end = try await pusher.terminate()
            #expect(end.status == 0)
            #expect(try await deployment.position(of: "STOPPED") == 50)
        }
    }

    @Test func killedProcessesContinueWhereTheyWere() async throws {
        try await Deployment.with { deployment in
            var recorded = 0
            for _ in 0..<4 {
                let processes = try Deployment.roles.dropFirst().map { try deployment.start($0) }
                for _ in 0..<100 { recorded = try await deployment.record("KILLED") }
                for process in processes { process.signal(SIGKILL) }
                for process in processes { _ = try await process.ended() }
            }
            let processes = try Deployment.roles.map { try deployment.start($0) }
            try await eventually("the archive") { try await deployment.archived() == recorded }
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            #expect(
                try await TestDatabase.number("SELECT count(DISTINCT id) FROM evt_history", on: deployment.warehouse) == recorded)
            for process in processes { #expect(try await process.terminate().status == 0) }
        }
    }

    @Test func allRolesRunInOneProcess() async throws {
        try await Deployment.with { deployment in
            let app = try deployment.start("evt", ["serve"])
            try await app.serves(roles: 3)
            #expect(try await deployment.evt("add", "SERVED").text == "1\n")
            try await eventually("the archive") { try await deployment.archived() == 1 }
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            #expect(try await app.terminate().status == 0)
        }
    }

    @Test func processesWaitForADatabaseThatIsNotThereYet() async throws {
        try await Deployment.with { deployment in
            let name = "evt_test_late_\(UInt32.random(in: 0...UInt32.max))"
            let late = TestDatabase.url(of: name)
            let pusher = try deployment.start("evt-pusher", [], ["EVT_DATABASE_URL": late])
            try await eventually("a word about it") { pusher.output.contains("does not exist") }
            try await TestDatabase.execute("CREATE DATABASE \(name)", on: TestDatabase.url(of: "postgres"))
            try await eventually("advice") { pusher.output.contains("evt migrate") }
            let migrated = try await ChildProcess.run(
                "evt", ["migrate", "--roles"], environment: ["EVT_DATABASE_URL": late])
            #expect(migrated.status == 0, "\(migrated.text)")
            try await eventually("service") { pusher.output.contains("following the stream") }
            #expect(try await pusher.terminate().status == 0)
            try await TestDatabase.execute("DROP DATABASE \(name) WITH (FORCE)", on: TestDatabase.url(of: "postgres"))
        }
    }

    @Test(arguments: Deployment.roles) func aMissingSettingIsNamed(role: String) async throws {
        let end = try await ChildProcess.run(role)
        #expect(end.status != 0)
        #expect(end.text.contains("is not set"), "\(end.text)")
    }

    @Test func settingsThatDoNotFitAreExplained() async throws {
        for (name, value) in [
            ("EVT_ACK_TIMEOUT", "soon"), ("EVT_REQUEST_MAX", "0"), ("EVT_ALLOW_POLLING", "maybe"), ("EVT_LOG_LEVEL", "loud"),
            ("EVT_PUSHER_BIND", "tcp://0.0.0.0:5571"), ("EVT_EVENT_TABLE", "a.b.c"),
        ] {
            let end = try await ChildProcess.run(
                "evt-pusher", environment: ["EVT_DATABASE_URL": "dbname=x", "EVT_LIVE_BIND": "", name: value])
            #expect(end.status != 0)
            #expect(end.text.contains(name), "\(end.text)")
        }
    }

    @Test func `passwords are not taken from the command line nor shown`() async throws {
        let secret = "s3cret"
        for url in ["postgresql://user:\(secret)@localhost/x", "host=localhost password=\(secret)"] {
            let end = try await ChildProcess.run("evt-pusher", ["--database-url", url])
            #expect(end.status != 0)
            #expect(!end.text.contains(secret))
        }
        let refused = try ChildProcess(
            "evt-generator",
            environment: [
                "EVT_DATABASE_URL": "postgresql://user:\(secret)@127.0.0.1:1/x", "EVT_GENERATOR_BIND": "",
                "EVT_LOG_LEVEL": "trace",
            ])
        try await eventually("a failed attempt") { refused.output.contains("cannot connect") }
        #expect(!refused.output.contains(secret))
        _ = try await refused.terminate()
    }
}
