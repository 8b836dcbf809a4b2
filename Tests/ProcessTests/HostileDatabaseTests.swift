import EventStreamClient
import Foundation
import LibPQ
import TestSupport
import Testing

extension FaultTests {
    /// PostgreSQL ends connections and statements, takes no writes, or has limits that are meant for others.
    @Suite struct HostileDatabaseTests {
        /// It counts from the beginning of a session, before anybody can set it right: a busy machine may need a while for that.
        private static let idle = "3s"
        private static let hostile = [
            "statement_timeout": "1ms", "lock_timeout": "1ms", "idle_in_transaction_session_timeout": "1ms",
            "idle_session_timeout": "\(idle)",
        ]

        @Test func limitsSetForTheWholeDatabaseStopNobody() async throws {
            try await Deployment.with { deployment in
                for (setting, value) in Self.hostile {
                    for url in [deployment.active, deployment.warehouse] { try await Self.set(setting, to: value, on: url) }
                }
                let processes = try deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
                try await eventually("the archiver") { try await deployment.isRegistered("ARCHIVER") }
                try await processes["evt-generator"]!.serves()
                #expect(try await deployment.evt("add", "HOSTILE").status == 0)
                let load = WriterLoad(writers: 4, seed: 1, largest: 20, idle: 10)
                try await load.run(on: deployment.active) {
                    try await eventually("events in the archive") { try await deployment.archived() > 2000 }
                }
                try await eventually("the discard") { try await deployment.backlog() == 0 }
                // The generator's session has been idle for longer than this one.
                try await TestDatabase.connected(to: deployment.active) { connection in
                    try await connection.query(Statement("SET idle_session_timeout = '\(Self.idle)'"))
                    try await eventually("the end of an idle session") { !connection.isOpen }
                }
                #expect(try await deployment.evt("archive", "verify").text.contains(" 0 findings"))
                for (name, process) in processes { #expect(process.warnings == [], "\(name): \(process.output)") }
                try await processes.stop()
            }
        }

        @Test func theSchemaIsMadeAlthoughTheDatabaseHasLimits() async throws {
            try await TestDatabase.with(.empty) { url in
                for (setting, value) in Self.hostile { try await Self.set(setting, to: value, on: url) }
                let made = try await ChildProcess.run("evt", ["migrate"], environment: ["EVT_DATABASE_URL": url])
                #expect(made.status == 0, "\(made.text)")
            }
        }

        @Test func everyProcessGoesOnHoweverOftenItsConnectionsAreTerminated() async throws {
            try await Deployment.with { deployment in
                let rounds = 15
                let processes = try deployment.startRoles()
                try await PersistentReceiver.following(deployment) { receiver in
                    try await eventually("the archiver") { try await deployment.isRegistered("ARCHIVER") }
                    let load = WriterLoad(writers: 4, seed: 2, largest: 5, idle: 20)
                    try await load.run(on: deployment.active) {
                        for round in 0..<rounds {
                            // Also while they are connecting, and before they have got anywhere.
                            for _ in 0...round % 3 {
                                for url in [deployment.active, deployment.warehouse] { try await Self.terminate(on: url) }
                            }
                            try await deployment.goesOn(receiver, "in round \(round)")
                        }
                    }
                }
                try await deployment.checkArchive()
                // Each time one that tells of the loss, one of the return, and some of those between.
                processes.expectLog(lines: rounds * 8)
                try await processes.stop()
            }
        }

        @Test func aDatabaseThatIsReadOnlyForAWhileIsWaitedFor() async throws {
            try await Deployment.with { deployment in
                let processes = try deployment.startRoles(["EVT_SESSION_TIMEOUT": "2s"])
                try await processes["evt-generator"]!.serves()
                try await PersistentReceiver.following(deployment) { receiver in
                    try await deployment.goesOn(receiver, "before")
                    for url in [deployment.active, deployment.warehouse] {
                        try await Self.set("default_transaction_read_only", to: "on", on: url)
                        try await Self.terminate(on: url)
                    }
                    // The first may come before the generator is connected again, and is told of that.
                    try await eventually("a refusal") {
                        let refused = try await failure { try await deployment.generator().addEvent("REFUSED", "1") }
                        #expect(refused.contains("the event was not recorded"), "\(refused)")
                        return refused.contains("read-only")
                    }
                    try await eventually("a word about it") {
                        processes["evt-discarder"]!.output.contains("read-only")
                    }
                    processes.expectLog(lines: 40)
                    for url in [deployment.active, deployment.warehouse] {
                        try await Self.set("default_transaction_read_only", to: "off", on: url)
                        try await Self.terminate(on: url)
                    }
                    try await deployment.goesOn(receiver, "when it can be written again")
                }
                try await processes.stop()
            }
        }

        @Test func anErrorSaysWhetherItIsKnownThatTheEventWasNotRecorded() async throws {
            try await PrivateCluster.with { cluster in
                try await ScratchDirectory.with { directory in
                    let deployment = Deployment(active: cluster.url, warehouse: cluster.url, directory: directory)
                    try await deployment.migrate()
                    let process = try deployment.start("evt-generator")
                    try await process.serves()
                    let generator = try await deployment.generator()
                    _ = try await generator.addEvent("SURE", "1")

                    // Cancelled while it waits for the table: it has not been recorded.
                    try await TestDatabase.connected(to: cluster.url) { connection in
                        try await connection.query("BEGIN")
                        try await connection.query("LOCK TABLE evt_queue IN SHARE MODE")
                        let cancelled = Task { try await failure { try await generator.addEvent("CANCELLED", "1") } }
                        try await Self.act("pg_cancel_backend", onGeneratorWaitingFor: "Lock", of: cluster)
                        let error = try await cancelled.value
                        #expect(error.contains("the event was not recorded"), "\(error)")
                        try await connection.query("ROLLBACK")
                    }

                    // Ended while the commit waits for a standby server that does not exist: nobody can know.
                    for setting in ["ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"] {
                        try await TestDatabase.execute(setting, on: cluster.url)
                    }
                    let unknown = Task { try await failure { while true { _ = try await generator.addEvent("UNKNOWN", "1") } } }
                    try await Self.act("pg_terminate_backend", onGeneratorWaitingFor: "IPC", of: cluster)
                    let error = try await unknown.value
                    #expect(error.contains("it is not known whether the event was recorded"), "\(error)")
                    for setting in ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"] {
                        try await TestDatabase.execute(setting, on: cluster.url)
                    }

                    // Its connection was terminated.
                    try await eventually("an event") { (try? await generator.addEvent("AFTER", "1")) != nil }
                    let recorded = try await TestDatabase.rows(
                        "SELECT type FROM evt_queue GROUP BY type ORDER BY min(id)", on: cluster.url)
                    #expect(recorded == [["SURE"], ["UNKNOWN"], ["AFTER"]])
                    #expect(try await process.terminate().status == 0)
                }
            }
        }

        private static func set(_ setting: String, to value: String, on url: String) async throws {
            let name = try await TestDatabase.rows("SELECT current_database()", on: url)[0][0]!
            try await TestDatabase.execute(
                "ALTER DATABASE \(name) SET \(setting) = '\(value)'", on: TestDatabase.url(of: "postgres"))
        }

        /// Ends our processes' connections, not those of others.
        private static func terminate(on url: String) async throws {
            try await TestDatabase.execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name LIKE 'evt-%'
                """, on: url)
        }

        private static func act(_ function: String, onGeneratorWaitingFor event: String, of cluster: PrivateCluster) async throws
        {
            try await eventually("the generator's wait") {
                try await TestDatabase.number(
                    """
                    SELECT count(\(function)(pid)) FROM pg_stat_activity
                    WHERE application_name = 'evt-generator' AND wait_event_type = '\(event)'
                    """, on: cluster.url) > 0
            }
        }
    }
}

/// What an error says.
func failure(_ body: () async throws -> some Any) async throws -> String {
    do {
        return "no error, but \(try await body())"
    } catch {
        return "\(error)"
    }
}

extension Deployment {
    func generator() async throws -> GeneratorClient { try await GeneratorClient([environment["EVT_GENERATOR_CONNECT"]!]) }

    func isRegistered(_ component: String) async throws -> Bool {
        try await TestDatabase.number("SELECT count(*) FROM evt_consumers WHERE ident = 'local:\(component)'", on: active) > 0
    }
}
