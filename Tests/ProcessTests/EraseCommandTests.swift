import Glibc
import TestSupport
import Testing

/// `evt archive erase` and what follows from it, with the built binaries.
@Suite(.serialized) struct EraseCommandTests {
    @Test func `data is erased once the operator says so, and the record says who, when and why`() async throws {
        try await Deployment.with { deployment in
            let processes = try deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            for number in 1...5 { try await deployment.record("OLD", "\"secret \(number)\"") }
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            for arguments in [["2"], ["two", "--reason", "a test"], ["--resume", "2"], [], ["2", "--reason", " "]] {
                let refused = try await ChildProcess.run(
                    "evt", ["archive", "erase", "--yes"] + arguments, environment: deployment.environment)
                #expect(refused.status == 64, "\(arguments): \(refused.text)")
            }
            // Whoever may look only sees what would go.
            let asked = try await deployment.evt("archive", "erase", "4", "2", "--reason", "a test")
            #expect(asked.status == 1 && asked.text.hasPrefix("2  OLD  20"), "\(asked.text)")
            #expect(asked.text.contains("the data of 2 events would be erased, and nothing has been done"), "\(asked.text)")
            let unknown = try await deployment.evtAsOwner("archive", "erase", "2", "77", "--reason", "a test", "--yes")
            #expect(
                unknown.status == 1 && unknown.text.contains("there is no event 77: nothing has been done"), "\(unknown.text)")
            let forbidden = try await deployment.evt("archive", "erase", "2", "--reason", "a test", "--yes")
            #expect(forbidden.status == 1 && forbidden.text.contains("permission denied"), "\(forbidden.text)")
            #expect(try await deployment.evt("archive", "erased").text == "")

            let done = try await deployment.evtAsOwner("archive", "erase", "4", "2", "--reason", "a test", "--yes")
            #expect(
                done.status == 0
                    && done.text.hasSuffix("erasure 1: the data of 2 rows is erased\nerasure 1 is complete\n"), "\(done.text)")
            let verified = try await deployment.evt("archive", "verify")
            #expect(verified.status == 0 && verified.text == "5 events verified, 0 findings\n", "\(verified.text)")
            let history = try await deployment.evt("history").text
            #expect(!history.contains("secret 2") && !history.contains("secret 4") && history.contains("secret 3"), "\(history)")
            let listed = try await deployment.evt("archive", "erased")
            #expect(listed.status == 0 && listed.text.hasPrefix("erasure 1  erased  20"), "\(listed.text)")
            #expect(listed.text.contains(": a test\n  2  OLD  20") && listed.text.contains("\n  4  OLD  20"), "\(listed.text)")
            #expect(try await !deployment.evt("doctor").text.contains("erasure"))
            let again = try await deployment.evtAsOwner("archive", "erase", "--resume")
            #expect(again.status == 0 && again.text == "every erasure is complete\n", "\(again.text)")
            try await processes.stop()
        }
    }

    @Test func `a frozen pusher is named, and the erasure is completed after its end`() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            try await deployment.record("OLD", "\"secret\"")
            try await eventually("the pusher") {
                try await TestDatabase.number("SELECT count(*) FROM evt_queue_pushers", on: deployment.active) == 1
            }
            pusher.signal(SIGSTOP)
            let late = try await deployment.evtAsOwner(
                "archive", "erase", "1", "--reason", "a test", "--yes", "--timeout", "1s")
            #expect(late.status == 1 && late.text.contains("erasure 1 stays open: pusher"), "\(late.text)")
            let doctor = try await deployment.evt("doctor")
            #expect(doctor.text.contains("erasure 1 of 1 events") && doctor.text.contains("--resume"), "\(doctor.text)")
            #expect(try await deployment.evt("archive", "erased").text.hasPrefix("erasure 1  NOT COMPLETE  20"))
            pusher.signal(SIGCONT)
            let done = try await deployment.evtAsOwner("archive", "erase", "--resume")
            #expect(done.status == 0 && done.text.hasSuffix("erasure 1 is complete\n"), "\(done.text)")
            #expect(try await pusher.terminate().status == 0)
        }
    }
}
