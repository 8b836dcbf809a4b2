import EventStreamClient
import EventStreamDatabase
import Foundation
import TestSupport
import Testing

/// Whatever a database sets for its sessions: how values look, what statements mean, how long they may take.
@Suite struct OddSettingsTests {
    private static let settings: [(String, String)] = [
        ("quote_all_identifiers", "on"), ("DateStyle", "'German, DMY'"), ("IntervalStyle", "sql_standard"),
        ("TimeZone", "'Asia/Kathmandu'"), ("bytea_output", "escape"), ("extra_float_digits", "-15"), ("array_nulls", "off"),
        ("xmlbinary", "hex"), ("standard_conforming_strings", "off"), ("backslash_quote", "off"),
        ("escape_string_warning", "off"), ("default_transaction_isolation", "serializable"),
        ("default_transaction_deferrable", "on"), ("transform_null_equals", "on"), ("client_encoding", "LATIN1"),
        ("synchronous_commit", "off"), ("session_replication_role", "replica"), ("row_security", "on"),
        ("statement_timeout", "'1ms'"), ("lock_timeout", "'1ms'"), ("idle_in_transaction_session_timeout", "'1ms'"),
        ("search_path", "public, odd, pg_catalog"), ("plan_cache_mode", "force_custom_plan"), ("jit_above_cost", "0"),
        ("enable_indexscan", "off"), ("enable_hashjoin", "off"), ("check_function_bodies", "off"),
        ("plpgsql.variable_conflict", "use_column"), ("plpgsql.extra_errors", "'all'"), ("lc_messages", "'C'"),
        ("client_min_messages", "error"), ("cursor_tuple_fraction", "1"), ("from_collapse_limit", "1"),
    ]

    private static func set(on url: String) async throws {
        let name = try await TestDatabase.rows("SELECT current_database()", on: url)[0][0]!
        try await TestDatabase.execute("CREATE SCHEMA odd; GRANT USAGE ON SCHEMA odd TO PUBLIC", on: url)
        for (setting, value) in settings {
            try await TestDatabase.execute(
                "ALTER DATABASE \(name) SET \(setting) = \(value)", on: TestDatabase.url(of: "postgres"))
        }
    }

    @Test func thePipelineDoesNotDependOnWhatADatabaseSets() async throws {
        try await TestDatabase.with(.empty) { active in
            try await TestDatabase.with(.empty) { warehouse in
                for url in [active, warehouse] { try await Self.set(on: url) }
                try await ScratchDirectory.with { directory in
                    let deployment = Deployment(active: active, warehouse: warehouse, directory: directory)
                    try await deployment.migrate()
                    let again = try await deployment.evtAsOwner("migrate", "--roles")
                    #expect(again.status == 0 && again.text.contains("active database: up to date"), "\(again.text)")
                    let (processes, surfaces) = try await deployment.startObserved(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
                    try await PersistentReceiver.following(deployment) { receiver in
                        // The test's own trigger, for the few events there are.
                        for table in ["evt_queue", "evt_queue_0"] {
                            try await TestDatabase.execute("ALTER TABLE \(table) ENABLE ALWAYS TRIGGER note_truth", on: active)
                        }
                        try await deployment.record("ODD", #"{"a": 1.50, "b": "a\\b \"quoted\" é", "c": null}"#)
                        #expect(try await deployment.evt("add", "ODD", #"["\\", "'", -1e3]"#).status == 0)
                        let poller = try await PollClient([deployment.environment["EVT_PUSHER_CONNECT"]!])
                        try await poller.registerConsumer("POLLER")
                        try await deployment.goesOn(receiver, "with odd settings")
                        let polled = try await poller.pollEvents("LIVE", after: nil)
                        if let newest = polled.last?.id { _ = try await poller.pollEvents("POLLER", after: newest) }
                        await poller.close()
                        try await deployment.goesOn(receiver, "afterwards")
                    }
                    try await deployment.checkArchive()
                    let row = "SELECT id, type, data, ts FROM"
                    let archived = try await TestDatabase.rows("\(row) evt_history ORDER BY id", on: warehouse)
                    #expect(try await TestDatabase.rows("\(row) truth ORDER BY id", on: active) == archived)
                    try await eventually("the discard") {
                        let left = try await deployment.backlog()
                        return try await left < TestDatabase.number("SELECT count(*) FROM truth", on: active)
                    }
                    try await eventually("a verified archive") {
                        try await deployment.evt("archive", "verify").text.contains(" 0 findings")
                    }
                    let history = try await deployment.evt("history")
                    #expect(history.status == 0 && history.text.contains("1.50"), "\(history.text)")
                    let status = try await deployment.evt("status")
                    #expect(status.status == 0 && status.text.contains("local:FOLLOWER"), "\(status.text)")
                    let doctor = try await deployment.evt("doctor", "--metrics-connect", surfaces.endpoints)
                    let known = ["fsync is off", "full_page_writes is off", "local:POLLER", "local:FOLLOWER"]
                    let wrong = doctor.text.split(separator: "\n").filter { line in
                        (line.hasPrefix("critical") || line.hasPrefix("warning")) && !known.contains { line.contains($0) }
                    }
                    #expect(wrong == [], "\(doctor.text)")
                    for (name, process) in processes { #expect(process.warnings == [], "\(name): \(process.output)") }
                    try await processes.stop()
                }
            }
        }
    }
}
