import CommandLineSupport
import EventStream
import EventStreamDatabase
import Foundation
import LibPQ
import TestSupport
import Testing

/// Somebody who has, or waits for, a lock that the stream needs: named with what he does, by all who suffer from it.
@Suite(.serialized) struct LockTests {
    /// Runs `body` while a transaction of somebody called `reporter` goes on that begins with this.
    private static func whileLocked(
        _ sql: String, on url: String, _ body: @Sendable (_ process: Int) async throws -> Void
    ) async throws {
        try await TestDatabase.connected(to: url + " application_name=reporter") { connection in
            try await connection.query("BEGIN")
            try await connection.script(sql)
            try await body(Int(connection.backendProcessID))
            try await connection.query("ROLLBACK")
        }
    }

    private static func names(_ text: String, _ process: Int, _ more: String...) -> Bool {
        (["pid \(process) (reporter", "user "] + more).allSatisfy(text.contains)
    }

    private static func isNamed(
        by surface: Surface, _ process: Int, _ mode: String
    ) async throws {
        try await eventually("the lock to be named") {
            let answer = try await surface.get("/readyz")
            return answer.status == 503 && names(answer.body, process, "\(mode) lock on", "pg_terminate_backend(\(process))")
        }
    }

    private static func doctorNames(_ deployment: Deployment, _ process: Int, _ mode: String) async throws {
        let began = ContinuousClock.now
        let report = try await deployment.evt("doctor")
        #expect(report.status == 2 && names(report.text, process, "critical lock:", "\(mode) lock on"), "\(report.text)")
        #expect(.now - began < .seconds(15))
    }

    @Test func aLockThatKeepsWritersOutOnlyIsNamedByTheGeneratorStatusAndDoctor() async throws {
        try await Deployment.with { deployment in
            let generator = try deployment.start("evt-generator", [], ["EVT_METRICS_BIND": "127.0.0.1:0"])
            try await generator.serves()
            let surface = try await Surface(of: generator)
            for table in ["evt_queue", "evt_queue_5"] {
                try await Self.whileLocked("LOCK TABLE \(table) IN SHARE MODE", on: deployment.active) { process in
                    let waiting = table == "evt_queue" ? try deployment.start("evt", ["add", "WAITS", "--timeout", "100s"]) : nil
                    if waiting != nil { try await Self.isNamed(by: surface, process, "SHARE") }
                    try await eventually("the lock to be named by status") {
                        let status = try await deployment.evt("status")
                        return Self.names(status.text, process, "locked", "SHARE lock on public.\(table)", "LOCK TABLE")
                            && status.status == 0
                    }
                    try await Self.doctorNames(deployment, process, "SHARE")
                }
            }
            try await eventually("health") { try await surface.isReady() }
            let quiet = try await deployment.evt("status")
            #expect(!quiet.text.contains("locked"))
            #expect(try await generator.terminate().status == 0)
        }
    }

    @Test func aLockThatKeepsReadersOutIsNamedByWhoeverIsBlockedAndStopsNoCommandForLong() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved(["EVT_SESSION_TIMEOUT": "5s"])
            // Before anything was delivered an insert looks at the tables that tell whether something was.
            try await deployment.record("FIRST")
            try await eventually("the mark of what was delivered") {
                try await TestDatabase.number("SELECT count(*) FROM evt_queue_settled WHERE is_called", on: deployment.active)
                    == 1
            }
            for table in ["evt_queue", "evt_consumers"] {
                try await Self.whileLocked("LOCK TABLE \(table) IN ACCESS EXCLUSIVE MODE", on: deployment.active) { process in
                    if table != "evt_queue" { try await deployment.record("KEEPS_BUSY") }
                    try await Self.isNamed(by: surfaces["evt-pusher"]!, process, "ACCESS EXCLUSIVE")
                    let began = ContinuousClock.now
                    let status = try await deployment.evt("status")
                    #expect(
                        status.status == 1
                            && Self.names(status.text, process, "lock timeout", "ACCESS EXCLUSIVE lock on public.\(table)")
                            || Self.names(status.text, process, "ACCESS EXCLUSIVE lock on public.\(table)"), "\(status.text)")
                    #expect(.now - began < .seconds(15))
                    try await Self.doctorNames(deployment, process, "ACCESS EXCLUSIVE")
                    let set = try await deployment.evtAsOwner("consumers", "set", "ARCHIVER", "head")
                    #expect(set.status == 1 && Self.names(set.text, process), "\(set.text)")
                }
                try await eventually("health") { try await surfaces["evt-pusher"]!.isReady() }
            }
            try await Self.whileLocked("LOCK TABLE evt_history IN SHARE MODE", on: deployment.warehouse) { process in
                try await deployment.record("ARCHIVED")
                try await Self.isNamed(by: surfaces["evt-archiver"]!, process, "SHARE")
                try await Self.doctorNames(deployment, process, "SHARE")
            }
            try await Self.whileLocked("LOCK TABLE evt_history IN ACCESS EXCLUSIVE MODE", on: deployment.warehouse) { process in
                let history = try await deployment.evt("history", "--count")
                #expect(history.status == 1 && Self.names(history.text, process, "lock timeout"), "\(history.text)")
            }
            try await processes.stop()
        }
    }

    @Test func aLockThatIsWaitedForIsNamedWithWhomItWaitsFor() async throws {
        try await Deployment.with { deployment in
            try await Self.whileLocked("SELECT count(*) FROM evt_queue", on: deployment.active) { reader in
                let url = deployment.active + " application_name=reporter"
                async let altering: Void = TestDatabase.execute(
                    "BEGIN; LOCK TABLE evt_queue IN ACCESS EXCLUSIVE MODE; ROLLBACK", on: url)
                let process = try await eventually("the wait for the lock") {
                    let waiting = try await TestDatabase.number(
                        "SELECT pid FROM pg_locks WHERE relation = 'evt_queue'::regclass AND NOT granted", on: deployment.active)
                    return waiting > 0 ? waiting : nil
                }
                try await eventually("the chain to be named") {
                    let status = try await deployment.evt("status")
                    return status.status == 1 && Self.names(status.text, process, "waits for an ACCESS EXCLUSIVE lock on")
                        && Self.names(
                            status.text, reader, "which waits for pid \(reader)", "pg_terminate_backend(\(reader))",
                            "pg_cancel_backend(\(process))")
                }
                try await TestDatabase.execute("SELECT pg_cancel_backend(\(process))", on: deployment.active)
                _ = try? await altering
            }
        }
    }

    @Test func aPreparedTransactionThatHasALockIsNamed() async throws {
        try await Deployment.with { deployment in
            let name = "held-\(UInt32.random(in: 0 ... .max))"
            try await TestDatabase.execute(
                "BEGIN; LOCK TABLE evt_consumers IN SHARE MODE; PREPARE TRANSACTION '\(name)'", on: deployment.active)
            try await eventually("the prepared transaction to be named") {
                let report = try await deployment.evt("doctor")
                return report.text.contains("prepared transaction '\(name)'") && report.text.contains("SHARE lock on")
                    && report.text.contains("ROLLBACK PREPARED '\(name)'")
            }
            let register = try await deployment.evtAsOwner("consumers", "register", "NEW")
            #expect(register.status == 1 && register.text.contains("prepared transaction '\(name)'"), "\(register.text)")
            try await TestDatabase.execute("ROLLBACK PREPARED '\(name)'", on: deployment.active)
        }
    }

    /// Makes a role that may do nothing but connect, and runs `body` while it has one of the stream's advisory locks.
    private static func whileAStrangerHas(
        _ lock: AdvisoryLock, _ deployment: Deployment, _ body: @Sendable (_ process: Int) async throws -> Void
    ) async throws {
        try await TestDatabase.execute(
            """
            DO $$ BEGIN CREATE ROLE evt_test_stranger LOGIN;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
            """, on: deployment.active)
        let oid = try await TestDatabase.number("SELECT 'evt_queue'::regclass::oid", on: deployment.active)
        let stranger = deployment.active + " user=evt_test_stranger application_name=reporter"
        try await TestDatabase.connected(to: stranger) { connection in
            try await connection.query(Statement("SELECT pg_advisory_lock(\(lock.key(of: UInt32(oid))))"))
            try await body(Int(connection.backendProcessID))
            try await connection.query(Statement("SELECT pg_advisory_unlock_all()"))
        }
    }

    @Test func aStrangerWithTheDiscardersLocksIsNamed() async throws {
        try await Deployment.with { deployment in
            let observed = ["EVT_METRICS_BIND": "127.0.0.1:0"]
            let (discarder, pusher) = (
                try deployment.start("evt-discarder", [], observed), try deployment.start("evt-pusher", [], observed)
            )
            try await discarder.serves()
            try await pusher.serves()
            // The lock that registering shares: waited for, and then named; gone in time, it is of no account.
            try await Self.whileAStrangerHas(.discard, deployment) { process in
                let refused = try await deployment.evtAsOwner("consumers", "register", "NEW")
                #expect(refused.status == 1 && Self.names(refused.text, process, "evt_test_stranger"), "\(refused.text)")
                let wired = try await deployment.evt("poll", "WIRED", "--register", "--timeout", "60s")
                #expect(wired.status != 0 && Self.names(wired.text, process, "not registered"), "\(wired.text)")
                try await Self.doctorNames(deployment, process)
            }
            let registering: ChildProcess = try await {
                nonisolated(unsafe) var registering: ChildProcess?
                try await Self.whileAStrangerHas(.discard, deployment) { _ in
                    registering = try deployment.start("evt", ["poll", "LATER", "--register", "--timeout", "60s"])
                    try await eventually("the pusher's wait") {
                        try await TestDatabase.number(
                            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
                                + "(SELECT oid FROM pg_database WHERE datname = current_database())", on: deployment.active) == 1
                    }
                }
                return registering!
            }()
            #expect(try await registering.ended().status == 0)
            #expect(try await deployment.position(of: "LATER") == 0)
            #expect(try await discarder.terminate().status == 0)
            try await Self.whileAStrangerHas(.discarder, deployment) { process in
                let second = try deployment.start("evt-discarder", [], observed)
                let surface = try await Surface(of: second)
                try await eventually("the stranger to be named") {
                    let answer = try await surface.get("/readyz")
                    return answer.status == 503
                        && Self.names(answer.body, process, "evt_test_stranger", "every discarder stands by")
                }
                try await Self.doctorNames(deployment, process)
                let status = try await deployment.evt("status")
                #expect(Self.names(status.text, process, "evt_test_stranger"), "\(status.text)")
                #expect(try await second.terminate().status == 0)
            }
            #expect(try await pusher.terminate().status == 0)
        }
    }

    private static func doctorNames(_ deployment: Deployment, _ process: Int) async throws {
        let report = try await deployment.evt("doctor")
        #expect(names(report.text, process, "critical lock:", "evt_test_stranger", "REVOKE CONNECT"), "\(report.text)")
    }

    @Test func aDiscarderThatStandsByNamesTheOneAtWork() async throws {
        try await Deployment.with { deployment in
            let observed = ["EVT_METRICS_BIND": "127.0.0.1:0"]
            let first = try deployment.start("evt-discarder", [], observed)
            try await first.serves()
            let second = try deployment.start("evt-discarder", [], observed)
            let surface = try await Surface(of: second)
            try await eventually("the first to be named") {
                let answer = try await surface.get("/readyz")
                return answer.status == 200 && answer.body.contains("standing by: another discarder is at work, pid ")
                    && answer.body.contains("(evt-discarder, user evt_test_discarder")
            }
            #expect(!(try await deployment.evt("status").text.contains("locked")))
            #expect(try await second.terminate().status == 0)
            #expect(try await first.terminate().status == 0)
        }
    }

    @Test func aCommitThatWaitsForAStandbyIsNamedWithTheStandbyAndNobodyIsToldToTerminateIt() async throws {
        try await ScratchDirectory.with { directory in
            try await PrivateCluster.with { cluster in
                try await TestDatabase.with(.warehouse) { warehouse in
                    let deployment = Deployment(active: cluster.url, warehouse: warehouse, directory: directory)
                    try await deployment.migrate()
                    let generator = try deployment.start("evt-generator", [], ["EVT_METRICS_BIND": "127.0.0.1:0"])
                    try await generator.serves()
                    let surface = try await Surface(of: generator)
                    try await TestDatabase.execute("ALTER SYSTEM SET synchronous_standby_names = 'ghost'", on: cluster.url)
                    try await TestDatabase.execute("SELECT pg_reload_conf()", on: cluster.url)
                    try await eventually("the setting") {
                        try await TestDatabase.rows("SHOW synchronous_standby_names", on: cluster.url) == [["ghost"]]
                    }
                    let adding = try deployment.start("evt", ["add", "WAITS", "--timeout", "200s"])
                    let words = ["synchronous_standby_names = 'ghost', connected: none", "do not cancel or terminate"]
                    try await eventually("the standby to be named") {
                        let (answer, report) = (try await surface.get("/readyz"), try await deployment.evtAsOwner("doctor"))
                        let status = try await deployment.evtAsOwner("status")
                        return answer.status == 503
                            && [answer.body, report.text, status.text].allSatisfy { text in
                                words.allSatisfy(text.contains) && !text.contains("pg_terminate_backend")
                            }
                    }
                    try await TestDatabase.execute("ALTER SYSTEM RESET synchronous_standby_names", on: cluster.url)
                    try await TestDatabase.execute("SELECT pg_reload_conf()", on: cluster.url)
                    #expect(try await adding.ended().status == 0)
                    #expect(try await generator.terminate().status == 0)
                }
            }
        }
    }
}
