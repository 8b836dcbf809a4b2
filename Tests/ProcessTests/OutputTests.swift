import Foundation
import TestSupport
import Testing

/// Commands whose output nobody reads any more.
@Suite(.serialized) struct OutputTests {
    /// Runs `evt … | reader` in a shell.
    private static func piped(_ deployment: Deployment, _ command: String, into reader: String) throws -> ChildProcess {
        return try deployment.start(
            "/bin/bash", ["-c", "'\(ChildProcess.binaries)/evt' \(command) | \(reader); echo \"status ${PIPESTATUS[0]}\""])
    }

    @Test func aReliableTailConfirmsNothingThatItsReaderHasNotTaken() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            try await pusher.serves()
            for number in 1...10 { try await deployment.record("PIPED", "\(number)") }
            let unread = try Self.piped(deployment, "tail --component PIPED", into: "sleep 1")
            #expect(try await unread.ended().text == "status 0\n")
            #expect(try await deployment.position(of: "PIPED") == 0)
            let read = try await deployment.evt("tail", "--component", "PIPED", "--count", "10")
            #expect(read.text.split(separator: "\n").count == 10)
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test(arguments: ["tail --component PIPED", "tail"]) func aTailEndsWithItsReaderAlsoWhereNothingComes(command: String)
        async throws
    {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            try await pusher.serves()
            let tail = try Self.piped(deployment, command, into: "head -n 1")
            try await eventually("an event is shown") {
                if !tail.output.contains("SHOWN") { try await deployment.record("SHOWN") }
                return tail.output.contains("SHOWN")
            }
            // No further event comes.
            #expect(try await tail.ended().text.hasSuffix("status 0\n"))
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test func aReaderThatIsSlowGetsEverythingAndItIsConfirmed() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher")
            try await pusher.serves()
            for number in 1...30 { try await deployment.record("PIPED", "\(number)") }
            let tail = try Self.piped(
                deployment, "tail --component PIPED --count 30",
                into: "(sleep 0.5; while read -r line; do echo line; sleep 0.01; done)")
            let text = try await tail.ended().text
            #expect(text == String(repeating: "line\n", count: 30) + "status 0\n")
            #expect(try await deployment.position(of: "PIPED") == 30)
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test(arguments: ["status --watch --interval 1h", "top --interval 100ms", "poll LIVE --timeout 1h"])
    func whatOnlyLooksEndsQuietly(command: String) async throws {
        try await Deployment.with { deployment in
            try await deployment.record("SEEN")
            let looking = try Self.piped(deployment, command, into: "sleep 0.5")
            #expect(try await looking.ended().text == "status 0\n")
        }
    }

    @Test func anEventThatIsTooLongIsRefusedWithItsSizeAndTheLimit() async throws {
        try await Deployment.with { deployment in
            let generator = try deployment.start("evt-generator")
            try await generator.serves()
            let line = "{\"type\":\"LONG\",\"data\":\"\(String(repeating: "x", count: 70_000))\"}\n"
            let added = try await deployment.evt(
                "add", "--stdin", "--timeout", "1h", input: line + "{\"type\":\"OK\",\"data\":1}\n")
            #expect(added.status == 1)
            #expect(added.text.hasPrefix("line 1: InvalidRequest: the message has 700"), "\(added.text)")
            #expect(added.text.contains("at most 65536 are taken here") && added.text.hasSuffix("\n1\n"))
            #expect(try await generator.terminate().status == 0)
        }
    }
}
