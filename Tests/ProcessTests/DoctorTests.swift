import EventStreamClient
import Foundation
import LibPQ
import TestSupport
import Testing

/// Faults, and what `evt doctor` says of each: within ten seconds, by name, with what to do.
@Suite struct DoctorTests {
    struct Finding: Decodable, Sendable {
        let severity: String
        let subject: String
        let text: String
        let advice: String?
    }

    struct Report: Sendable {
        let status: Int32
        let findings: [Finding]

        func of(_ subject: String) -> [Finding] { findings.filter { $0.subject == subject && $0.severity != "ok" } }

        /// Whatever is wrong but what the arguments name.
        func besides(_ subjects: [String] = []) -> [Finding] {
            findings.filter { ["warning", "critical"].contains($0.severity) && !subjects.contains($0.subject) }
        }
    }

    private static func doctor(_ deployment: Deployment, _ surfaces: [String: Surface]) async throws -> Report {
        let output = try await deployment.evt("doctor", "--json", "--metrics-connect", surfaces.endpoints)
        guard let findings = try? JSONDecoder().decode([Finding].self, from: Data(output.text.utf8)) else {
            throw Failure("no findings: \(output.text)")
        }
        // What a test cluster is made with would be grave elsewhere.
        return Report(
            status: output.status,
            findings: findings.filter { !$0.text.hasPrefix("fsync is off") && !$0.text.hasPrefix("full_page_writes is off") })
    }

    /// Asks until it is named, and nothing is wrong besides but with those others, or whatever it is if they are nil: on a busy
    /// machine something may be late for a while.
    /// Ten seconds are what is promised; a machine that is busy with other tests gets more.
    private static func named(
        _ subject: String, _ deployment: Deployment, _ surfaces: [String: Surface], _ what: String,
        besides others: [String]? = [],
        and isComplete: (Report) -> Bool = { _ in true }
    ) async throws -> (Report, Finding) {
        var last: Report?
        do {
            return try await eventually("\(subject) to be named") {
                let report = try await doctor(deployment, surfaces)
                last = report
                if let others, !report.besides([subject] + others).isEmpty { return nil }
                guard isComplete(report) else { return nil }
                return report.of(subject).first { $0.text.contains(what) }.map { (report, $0) }
            }
        } catch {
            throw Failure("\(error): \(last?.besides().description ?? "no report")")
        }
    }

    @Test func nothingIsWrongWithAPipelineThatWorks() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            try await PersistentReceiver.following(deployment) { receiver in
                try await deployment.goesOn(receiver, "at first")
                try await eventually("health") {
                    let report = try await Self.doctor(deployment, surfaces)
                    return report.besides().isEmpty
                }
                let page = try await deployment.evt("doctor", "--metrics-connect", surfaces.endpoints)
                for name in surfaces.keys { #expect(page.text.contains("\(name.dropFirst(4)): ")) }
            }
            try await processes.stop()
        }
    }

    @Test func anOldSnapshotThatMakesTablesLargeIsNamed() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            _ = try await deployment.evtAsOwner("consumers", "register", "MOVES")
            try await TestDatabase.connected(to: deployment.active) { old in
                let pid = old.backendProcessID
                try await old.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
                // Whoever has read the table keeps it from being made anew, too.
                try await old.query("SELECT count(*) AS a_long_report FROM evt_consumers")
                try await TestDatabase.execute(
                    """
                    DO $$
                    BEGIN
                        FOR i IN 1..2500 LOOP
                            UPDATE evt_consumers SET want = (SELECT array_agg(left(translate(md5(i || '/' || n),
                                '0123456789abcdef', 'ABCDEFGHIJKLMNOP'), 16)) FROM generate_series(1, 50) n)
                            WHERE ident = 'local:MOVES';
                        END LOOP;
                    END $$
                    """, on: deployment.active)
                let (_, found) = try await Self.named("snapshot", deployment, surfaces, "pid \(pid) ", besides: nil)
                #expect(found.text.contains("evt_consumers") && found.text.contains("a_long_report"), "\(found.text)")
                #expect(found.advice?.contains("pg_terminate_backend(\(pid))") == true)
                try await old.query("COMMIT")
            }
            // Then the pusher makes the table small by itself.
            try await eventually("a small table") {
                try await TestDatabase.number("SELECT pg_total_relation_size('evt_consumers')", on: deployment.active) < 200_000
            }
            try await processes.stop()
        }
    }

    @Test func pushersWithDifferentTimeoutsAreNamed() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved(["EVT_SESSION_TIMEOUT": "5s"])
            let other = try deployment.start(
                "evt-pusher", [],
                ["EVT_SESSION_TIMEOUT": "10s", "EVT_PUSHER_BIND": "ipc://\(deployment.directory)/other", "EVT_LIVE_BIND": ""])
            let (_, found) = try await Self.named("pushers", deployment, surfaces, "EVT_SESSION_TIMEOUT differs", besides: nil)
            #expect(found.severity == "warning")
            #expect(try await other.terminate().status == 0)
            try await processes.stop()
        }
    }

    @Test func aFrozenPusherIsNamed() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            let pusher = try #require(processes["evt-pusher"])
            pusher.signal(SIGSTOP)
            defer { pusher.signal(SIGCONT) }
            let frozen = "\(surfaces["evt-pusher"]!.endpoint)"
            let (report, found) = try await Self.named(
                "pusher", deployment, surfaces, "gives no sign of life", besides: ["process"]
            ) { $0.of("process").contains { $0.text.contains(frozen) && $0.text.contains("frozen") } }
            #expect(found.severity == "critical" && found.advice?.contains("kill -9") == true)
            #expect(report.status == 2)
            pusher.signal(SIGCONT)
            try await processes.stop()
        }
    }

    @Test func aDeadConsumerIsNamed() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            let dead = try deployment.start("evt", ["tail", "--component", "DEAD"])
            try await eventually("its session") {
                try await TestDatabase.number(
                    "SELECT count(*) FROM evt_consumers WHERE ident = 'local:DEAD' AND session_owner IS NOT NULL",
                    on: deployment.active) == 1
            }
            dead.signal(SIGKILL)
            try await deployment.record("LOST")
            let (_, found) = try await Self.named("consumer", deployment, surfaces, "local:DEAD has no receiver: 1 event")
            #expect(found.advice?.contains("evt consumers remove local:DEAD") == true)
            #expect(found.severity == "warning")
            try await processes.stop()
        }
    }

    @Test func aLongOpenTransactionIsNamed() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            try await TestDatabase.connected(to: deployment.active + " application_name=slowpoke") { connection in
                try await connection.query("BEGIN")
                try await connection.query("SELECT evt_add('OPEN', '1')")
                try await deployment.record("WAITS")
                let (_, found) = try await Self.named("transaction", deployment, surfaces, "slowpoke", besides: ["process"])
                #expect(found.text.contains("pid \(connection.backendProcessID)") && found.text.contains("evt_add('OPEN', '1')"))
                #expect(found.advice?.contains("pg_terminate_backend(\(connection.backendProcessID))") == true)
                try await connection.query("ROLLBACK")
            }
            try await processes.stop()
        }
    }

    @Test func aStoppedArchiverIsNamed() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            #expect(try await processes["evt-archiver"]!.terminate().status == 0)
            try await deployment.record("KEPT")
            let (_, found) = try await Self.named("archiver", deployment, surfaces, "local:ARCHIVER is stopped: 1 event")
            #expect(found.severity == "critical" && found.advice?.contains("start evt-archiver") == true)
            try await processes.filter { $0.key != "evt-archiver" }.stop()
        }
    }

    @Test func `a required archiver that there is not is named with the one there is`() async throws {
        try await Deployment.with { deployment in
            let misspelt = ["EVT_DISCARD_REQUIRE": "ARCHVIER"]
            let (processes, surfaces) = try await deployment.startObserved(misspelt)
            try await deployment.record("KEPT")
            let (report, found) = try await Self.named(
                "archive", deployment, surfaces, "no such archiver is registered", besides: ["process"]
            ) { $0.of("process").contains { $0.text.contains("Set EVT_DISCARD_REQUIRE=ARCHIVER") } }
            #expect(found.severity == "critical" && found.text.contains("those there are: local:ARCHIVER"))
            #expect(found.advice?.contains("EVT_DISCARD_REQUIRE") == true && found.advice?.contains("verify") == false)
            #expect(report.of("archive").count == 1)
            try await processes.stop()
            // The doctor's own settings are looked at, too, before there is anything to discard.
            try await TestDatabase.execute("UPDATE evt_queue_state SET refusal = NULL", on: deployment.active)
            let alone = try await ChildProcess.run(
                "evt", ["doctor"], environment: deployment.environment.merging(misspelt) { $1 })
            #expect(alone.text.contains("Set EVT_DISCARD_REQUIRE=ARCHIVER for evt-discarder"), "\(alone.text)")
        }
    }

    @Test func aFullDiskIsNamed() async throws {
        try await ScratchDirectory.with { directory in
            try await PrivateCluster.with(faultsIn: directory) { cluster in
                try await TestDatabase.with(.warehouse) { warehouse in
                    let deployment = Deployment(active: cluster.url, warehouse: warehouse, directory: directory)
                    try await deployment.migrate()
                    let (processes, surfaces) = try await deployment.startObserved()
                    try cluster.setFull(true)
                    let (report, found) = try await Self.named(
                        "database", deployment, surfaces, "no room on its disk", besides: nil)
                    #expect(found.severity == "critical" && found.advice?.contains("make room") == true)
                    #expect(report.status == 2)
                    try cluster.setFull(false)
                    try await eventually("health") {
                        try await Self.doctor(deployment, surfaces).of("database").allSatisfy { $0.severity == "note" }
                    }
                    try await processes.stop()
                }
            }
        }
    }

    @Test func `what keeps a pusher from its work is named from the tables alone`() async throws {
        try await Deployment.with { deployment in
            let report = try await Self.doctor(deployment, [:])
            #expect(report.status == 2)
            #expect(report.of("pusher").first?.text.contains("no pusher is connected") == true)
            #expect(report.of("discarder").first?.text.contains("the event table grows") == true)
            try await TestDatabase.execute(
                """
                ALTER TABLE evt_queue DISABLE TRIGGER wake;
                ALTER SEQUENCE evt_queue_id_seq CACHE 20;
                """, on: deployment.active)
            let second = try await Self.doctor(deployment, [:])
            #expect(second.of("triggers").first?.advice?.contains("ENABLE ALWAYS TRIGGER wake") == true)
            #expect(second.of("sequence").first?.text.contains("CACHE 20") == true)
        }
    }

    @Test func aDatabaseThatCannotBeReachedIsNamed() async throws {
        let output = try await ChildProcess.run(
            "evt", ["doctor"], environment: ["EVT_DATABASE_URL": "host=127.0.0.1 port=1 dbname=x", "EVT_METRICS_CONNECT": ""])
        #expect(output.status == 2)
        #expect(output.text.contains("critical database: it cannot be looked at:"))
    }
}
