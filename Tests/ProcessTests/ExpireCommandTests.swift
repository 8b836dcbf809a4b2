import LibPQ
import TestSupport
import Testing

/// `evt archive expire` and what follows from it, with the built binaries.
@Suite(.serialized) struct ExpireCommandTests {
    /// Runs `body` with events 1 to 5 of four months ago, 6 to 10 of three months ago, and 11 of now, archived and discarded.
    private static func discarded(_ body: (Deployment) async throws -> Void) async throws {
        try await Deployment.with { deployment in
            for month in [4, 3] {
                try await TestDatabase.execute(
                    """
                    INSERT INTO evt_queue (type, data, ts) SELECT 'OLD', to_json(n), \(start(month)) + n * interval '1 day'
                    FROM generate_series(1, 5) n
                    """, on: deployment.active)
            }
            try await deployment.record("NEW")
            let processes = try deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            try await body(deployment)
            try await processes.stop()
        }
    }

    private static func start(_ monthsAgo: Int) -> String {
        "(date_trunc('month', now() AT TIME ZONE 'UTC') - interval '\(monthsAgo) months')"
    }

    private static func text(_ sql: String, _ deployment: Deployment) async throws -> String {
        try await TestDatabase.rows("SELECT \(sql)", on: deployment.warehouse)[0][0] ?? ""
    }

    @Test func `a month is dropped once the operator says so, and is not missed`() async throws {
        try await Self.discarded { deployment in
            let month = try await Self.text("to_char(\(Self.start(4)), 'YYYY-MM')", deployment)
            let day = try await Self.text("to_char(\(Self.start(3)) + interval '10 days', 'YYYY-MM-DD')", deployment)
            for arguments in [["--before", "yesterday"], ["--keep", "400"], ["--keep", "1d", "--before", day], []] {
                let refused = try await ChildProcess.run(
                    "evt", ["archive", "expire", "--yes"] + arguments, environment: deployment.environment)
                #expect(refused.status == 64, "\(refused.text)")
            }
            // Whoever may look only sees what would go.
            let asked = try await deployment.evt("archive", "expire", "--before", day)
            #expect(asked.status == 1 && asked.text.contains("\(month)  5 events, 1 to 5\n"), "\(asked.text)")
            #expect(asked.text.contains("5 events would be dropped, and nothing has been done: run the command with --yes"))
            #expect(try await deployment.archived() == 11)
            let forbidden = try await deployment.evt("archive", "expire", "--before", day, "--yes")
            #expect(forbidden.status == 1 && forbidden.text.contains("permission denied"), "\(forbidden.text)")

            try await TestDatabase.execute(
                "INSERT INTO evt_consumers (ident) VALUES ('local:BEHIND'); UPDATE evt_consumers SET last_evt_id = 2 WHERE ident = 'local:BEHIND'",
                on: deployment.active)
            let done = try await deployment.evtAsOwner("archive", "expire", "--before", day, "--yes", "--reason", "a test")
            #expect(
                done.status == 0
                    && done.text.hasSuffix("\(month)  5 events, 1 to 5, dropped\nconsumers can begin after event 5\n"),
                "\(done.text)")
            #expect(done.text.contains("local:BEHIND is at 2: it will get HistoryUnavailable"), "\(done.text)")
            let verified = try await deployment.evt("archive", "verify")
            #expect(
                verified.status == 0
                    && verified.text
                        == "expired  1 to 5: 5 events were dropped on purpose; see `evt archive expired`\n6 events verified, 0 findings\n",
                "\(verified.text)")
            let listed = try await deployment.evt("archive", "expired")
            #expect(listed.status == 0 && listed.text.hasPrefix("\(month)  5 events, 1 to 5  dropped 20"), "\(listed.text)")
            #expect(listed.text.hasSuffix(": a test\n"), "\(listed.text)")
            #expect(try await deployment.evt("history", "--count").text == "6\n")
            let doctor = try await deployment.evt("doctor")
            #expect(!doctor.text.contains("archive:") && !doctor.text.contains("history"), "\(doctor.text)")
            let again = try await deployment.evtAsOwner("archive", "expire", "--before", day)
            #expect(again.status == 0 && again.text.hasPrefix("no month of public.evt_history goes"), "\(again.text)")
        }
    }

    @Test func `a report that reads the month is named`() async throws {
        try await Self.discarded { deployment in
            try await TestDatabase.connected(to: deployment.warehouse + " application_name=reporter") { report in
                let pid = report.backendProcessID
                try await report.query("BEGIN")
                try await report.query("SELECT count(*) FROM evt_history")
                let busy = try await deployment.evtAsOwner("archive", "expire", "--keep", "0", "--yes")
                #expect(
                    busy.status == 1 && busy.text.contains("pid \(pid) (reporter") && busy.text.contains("Run the command again"),
                    "\(busy.text)")
                #expect(try await deployment.archived() == 11)
                try await report.query("COMMIT")
            }
            let done = try await deployment.evtAsOwner("archive", "expire", "--keep", "0", "--yes")
            #expect(done.status == 0, "\(done.text)")
            #expect(try await deployment.archived() == 1)
            #expect(try await deployment.evt("archive", "verify").status == 0)
        }
    }
}
