import Foundation
import Glibc
import TestSupport
import Testing

/// What a command prints may not be written, and a process may be told to stop before it has begun.
@Suite struct UnwrittenOutputTests {
    private static let commands = [
        ["--help"], ["status"], ["status", "--json"], ["consumers"], ["doctor"], ["migrate", "--print"],
        ["consumers", "register", "LATE"], ["history"], ["history", "--count"], ["generation"],
        ["top", "--count", "1", "--interval", "100ms"],
    ]

    private func run(_ script: String, _ arguments: [String], _ deployment: Deployment) async throws -> ChildProcess.Output {
        try await ChildProcess.run(
            "/bin/bash", ["-c", script, "\(ChildProcess.binaries)/evt"] + arguments, environment: deployment.environment)
    }

    @Test(arguments: ["\"$0\" \"$@\" > /dev/full", "\"$0\" \"$@\" >&-"])
    func outputThatCannotBeWrittenIsAnError(_ script: String) async throws {
        try await Deployment.with { deployment in
            try await archiveSomething(deployment)
            for command in Self.commands {
                let end = try await run(script, command, deployment)
                #expect(end.status != 0 && end.status < 128, "\(command): \(end.status)")
                #expect(end.text.contains("standard output cannot be written"), "\(command): \(end.text)")
            }
        }
    }

    @Test func aReaderThatHasGoneEndsACommandQuietly() async throws {
        try await Deployment.with { deployment in
            try await archiveSomething(deployment)
            let script = "exec 3> >(exec true); wait $!; \"$0\" \"$@\" >&3; echo \"status $?\" >&2"
            for command in Self.commands {
                let end = try await run(script, command, deployment)
                // What the doctor has found is its status nevertheless.
                let quiet = command == ["doctor"] ? (0...2).map { "status \($0)\n" } : ["status 0\n"]
                #expect(quiet.contains(end.text), "\(command): \(end.text)")
            }
        }
    }

    /// The connection to the database would be the next descriptor that is given out, and get what is printed.
    @Test func aClosedStandardErrorLeavesTheOutputAsItIs() async throws {
        try await Deployment.with { deployment in
            let end = try await run("\"$0\" \"$@\" 2>&-", ["consumers", "register", "LATE"], deployment)
            let expected = "registered local:LATE before the first event: no event follows yet\n"
            #expect(end.status == 0 && end.text == expected, "\(end.text)")
        }
    }

    private func archiveSomething(_ deployment: Deployment) async throws {
        try await deployment.record("SOME")
        try await TestDatabase.execute(
            "INSERT INTO evt_history (id, type, data, ts) VALUES (1, 'SOME', 'null', '2026-01-01')", on: deployment.warehouse)
    }

    @Test(arguments: Deployment.roles + ["evt"])
    func `a stop that comes before the work has begun ends a process cleanly`(_ program: String) async throws {
        try await Deployment.with { deployment in
            for (index, number) in [SIGTERM, SIGINT].enumerated() {
                // It reads where its database is, and is not told.
                let path = "\(deployment.directory)/url\(index)"
                try #require(mkfifo(path, 0o600) == 0)
                var settings = deployment.environment
                for name in ["EVT_DATABASE_URL", "EVT_ARCHIVE_URL"] {
                    settings[name] = nil
                    settings["\(name)_FILE"] = path
                }
                let process = try ChildProcess(program, program == "evt" ? ["serve"] : [], environment: settings)
                let writer = try await eventually("the reading of the address") {
                    let descriptor = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
                    return descriptor >= 0 ? descriptor : nil
                }
                defer { close(writer) }
                // Has nothing to read again yet.
                process.signal(SIGHUP)
                process.signal(number)
                let end = try await process.ended()
                #expect(end.status == 0, "\(end.status): \(end.text)")
            }
        }
    }
}
