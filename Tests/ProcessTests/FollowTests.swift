import Glibc
import TestSupport
import Testing

/// `evt history --follow`, while everything that it reads from is at work.
@Suite(.serialized) struct FollowTests {
    /// The ids and the data that were printed.
    private func printed(_ process: ChildProcess) -> [String] {
        process.output.split(separator: "\n").filter { $0.hasPrefix("{") }.map { line in
            let fields = line.split(separator: "\"")
            return "\(fields[3]) \(fields[7]) \(fields[10].dropFirst().dropLast())"
        }
    }

    private func truth(_ deployment: Deployment, where condition: String = "true") async throws -> [String] {
        try await TestDatabase.rows(
            "SELECT id || ' ' || type || ' ' || data FROM truth WHERE \(condition) ORDER BY id", on: deployment.active
        ).compactMap { $0[0] }
    }

    /// Ends the connections of commands to a database.
    private func disconnect(_ url: String) async throws {
        try await TestDatabase.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'evt' AND datname = current_database()
            """, on: url)
    }

    @Test func `every event is printed once, in order, from the archive and then as it is settled`() async throws {
        try await Deployment.with { deployment in
            try await deployment.noteTruth()
            let processes = try deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            for number in 1...20 { try await deployment.record("OLD", "\(number)") }
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            let all = try deployment.start("evt", ["history", "--follow"])
            let some = try deployment.start("evt", ["history", "--follow", "--want", "ODD_", "--from", "10", "--limit", "500"])
            let load = WriterLoad(writers: 3, seed: 5, types: ["LOAD", "ODD_"], idle: 10)
            try await load.run(on: deployment.active) {
                for count in [300, 1000, 2000] {
                    try await eventually("\(count) events") { printed(all).count >= count }
                    try await disconnect(count == 300 ? deployment.active : deployment.warehouse)
                }
            }
            let expected = try await truth(deployment)
            try await eventually("the last event") { printed(all).last == expected.last }
            #expect(printed(all) == expected)
            #expect(all.output.contains("trying again"))
            let ended = try await some.ended()
            #expect(ended.status == 0)
            #expect(printed(some) == Array(try await truth(deployment, where: "type = 'ODD_' AND id >= 10").prefix(500)))
            // It goes on where the events are discarded by now.
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            let again = try await deployment.evt("history", "--follow", "--limit", "\(expected.count)")
            #expect(again.status == 0 && again.text.split(separator: "\n").count == expected.count)
            all.signal(SIGTERM)
            _ = try await all.ended()
            try await processes.stop()
        }
    }

    @Test func `a time to begin with, and what does not go together`() async throws {
        try await Deployment.with { deployment in
            let processes = try deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            for number in 1...3 { try await deployment.record("OLD", "\(number)") }
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            try await deployment.record("NEW", "4")
            let since = try await deployment.evt("history", "--follow", "--since", "2020-01-01", "--limit", "4")
            #expect(since.status == 0 && since.text.split(separator: "\n").count == 4, "\(since.text)")
            for arguments in [["--to", "3"], ["--until", "2030-01-01"], ["--count"]] {
                let refused = try await ChildProcess.run(
                    "evt", ["history", "--follow"] + arguments, environment: deployment.environment)
                #expect(refused.status == 64 && refused.text.contains("--follow does not go with"), "\(refused.text)")
            }
            // What the archive does not have any more is named.
            try await TestDatabase.execute("UPDATE evt_history_positions SET complete_from = 2", on: deployment.warehouse)
            let gone = try await deployment.evt("history", "--follow", "--from", "1", "--limit", "1")
            #expect(gone.status == 1 && gone.text.contains("--from 3 at the earliest"), "\(gone.text)")
            let rest = try await deployment.evt("history", "--follow", "--limit", "1")
            #expect(rest.status == 0 && rest.text.contains("complete after event 2") && rest.text.contains("\"id\":\"3\""))
            try await processes.stop()
        }
    }
}
