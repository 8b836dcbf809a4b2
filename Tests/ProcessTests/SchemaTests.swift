import EventStream
import EventStreamDatabase
import Foundation
import TestSupport
import Testing

/// Databases that somebody has made or changed with other tools.
@Suite struct SchemaTests {
    private static func postgres(_ program: String, _ arguments: [String], input: String? = nil) async throws -> String {
        let bin = try await ChildProcess.run("/usr/bin/env", ["pg_config", "--bindir"]).text
        let path = "\(bin.trimmingCharacters(in: .whitespacesAndNewlines))/\(program)"
        let output = try await ChildProcess.run(path, arguments, input: input)
        guard output.status == 0 else { throw Failure("\(program): \(output.text)") }
        return output.text
    }

    private static func copySchema(from url: String, to copy: String, _ more: String...) async throws {
        let dump = try await postgres("pg_dump", ["-s"] + more + ["-d", url])
        _ = try await postgres("psql", ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", copy], input: dump)
    }

    /// What the steps make is there to read: SQL/schema.active.sql and schema.warehouse.sql say how these files are written anew.
    @Test(
        .enabled("the files are those of PostgreSQL 15") {
            try await TestDatabase.number("SELECT current_setting('server_version_num')::int / 10000", on: TestDatabase.cluster)
                == 15
        }, arguments: ["active", "warehouse"])
    func theSchemaIsTheOneInTheFile(database: String) async throws {
        try await TestDatabase.with(.empty) { url in
            try await TestDatabase.connected(to: url) { connection in
                _ =
                    database == "active"
                    ? try await Migrator.migrateActive(.standard, on: connection)
                    : try await Migrator.migrateWarehouse(.standard, on: connection)
            }
            // The names of partitions depend on the month.
            let dump = try await Self.postgres(
                "pg_dump", ["-s", "--no-owner", "--exclude-table", "evt_history_y????m??", "-d", url])
            // Without settings, headings, and the key of this dump.
            let noise = ["--", "\\", "SET ", "SELECT pg_catalog.set_config"]
            let statements = dump.split(separator: "\n", omittingEmptySubsequences: false)
                .filter { line in !noise.contains { line.hasPrefix($0) } }
                .joined(separator: "\n").replacing(/\n{3,}/, with: "\n\n").trimmingCharacters(in: .newlines)
            let schema = """
                -- The schema of the \(database) database, of PostgreSQL 15's pg_dump. A test compares it, and writes it anew with
                --     EVT_WRITE_SCHEMA=1 etc/test --filter theSchemaIsTheOneInTheFile

                \(statements)

                """
            let file = URL(filePath: #filePath).deletingLastPathComponent()
                .appending(path: "../../Sources/EventStreamDatabase/SQL/schema.\(database).sql")
            if ProcessInfo.processInfo.environment["EVT_WRITE_SCHEMA"] != nil {
                try schema.write(to: file, atomically: true, encoding: .utf8)
            }
            #expect(try String(contentsOf: file, encoding: .utf8) == schema)
        }
    }

    @Test func aDatabaseMadeOfADumpWithoutRowsIsFinishedByMigrate() async throws {
        try await Deployment.with { original in
            try await original.record("ORIGINAL")
            try await TestDatabase.with(.empty) { active in
                try await TestDatabase.with(.empty) { warehouse in
                    try await Self.copySchema(from: original.active, to: active)
                    try await Self.copySchema(from: original.warehouse, to: warehouse)
                    let copy = Deployment(active: active, warehouse: warehouse, directory: original.directory)
                    let before = try await copy.evt("status")
                    #expect(before.status != 0 && before.text.contains("run `evt migrate`"), "\(before.text)")
                    let made = try await copy.evtAsOwner("migrate")
                    #expect(made.status == 0 && made.text.contains("a dump without rows"), "\(made.text)")
                    let again = try await copy.evtAsOwner("migrate")
                    #expect(again.status == 0 && !again.text.contains("dump"), "\(again.text)")
                    let stream = "SELECT stream FROM evt_queue_state"
                    let mine = try await TestDatabase.rows(stream, on: active)
                    #expect(mine.count == 1)
                    #expect(try await TestDatabase.rows(stream, on: original.active) != mine)
                    let steps = "SELECT number, name FROM evt_queue_migrations ORDER BY 1"
                    let recorded = try await TestDatabase.rows(steps, on: original.active)
                    #expect(try await TestDatabase.rows(steps, on: active) == recorded)
                    // It works, with the rights that came along.
                    let processes = try copy.startRoles()
                    #expect(try await copy.record("COPY") == 1)
                    try await eventually("the archive") { try await copy.archived() == 1 }
                    try await processes.haveStarted()
                    try await processes.stop()
                }
            }
        }
    }

    @Test func `a dump that tells nothing of its steps is refused in words`() async throws {
        try await Deployment.with { original in
            try await TestDatabase.with(.empty) { active in
                try await Self.copySchema(from: original.active, to: active, "--no-comments")
                let copy = Deployment(active: active, warehouse: original.warehouse, directory: original.directory)
                let made = try await copy.evtAsOwner("migrate")
                #expect(made.status != 0 && made.text.contains("pg_dump -a -t public.evt_queue_migrations"), "\(made.text)")
                // What is advised works.
                let rows = try await Self.postgres("pg_dump", ["-a", "-t", "public.evt_queue_migrations", "-d", original.active])
                _ = try await Self.postgres("psql", ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", active], input: rows)
                let then = try await copy.evtAsOwner("migrate")
                #expect(then.status == 0, "\(then.text)")
                #expect(try await copy.record("COPY") == 1)
            }
        }
    }

    @Test func aColumnThatSomebodyHasAddedIsNamed() async throws {
        try await Deployment.with { deployment in
            try await TestDatabase.execute("ALTER TABLE evt_queue ADD COLUMN tenant text", on: deployment.active)
            let words = "public.evt_queue has columns that are not the stream's: tenant"
            let pusher = try deployment.start("evt-pusher")
            try await eventually("a word of the pusher's") { pusher.output.contains(words) }
            let doctor = try await deployment.evt("doctor")
            #expect(doctor.text.contains("warning  tables: \(words)"), "\(doctor.text)")
            let migrate = try await deployment.evtAsOwner("migrate")
            #expect(migrate.status == 0 && migrate.text.contains(words), "\(migrate.text)")
            let status = try await deployment.evt("status")
            #expect(status.text.contains(words), "\(status.text)")
            #expect(try await pusher.terminate().status == 0)
            #expect(pusher.output.components(separatedBy: words).count == 2)
        }
    }

    @Test func aTriggerThatDoesNotAlwaysFireIsNamed() async throws {
        try await Deployment.with { deployment in
            // As pg_restore --disable-triggers leaves it.
            try await TestDatabase.execute(
                "ALTER TABLE evt_queue ENABLE TRIGGER ALL; ALTER TABLE evt_consumers DISABLE TRIGGER registering",
                on: deployment.active)
            let doctor = try await deployment.evt("doctor")
            #expect(doctor.text.contains("registering of \"public\".\"evt_consumers\" is disabled"), "\(doctor.text)")
            #expect(doctor.text.contains("wake of \"public\".\"evt_queue\" is not ENABLE ALWAYS"), "\(doctor.text)")
            #expect(doctor.text.contains("ENABLE ALWAYS TRIGGER"))
        }
    }

    @Test func `a state without its row is named and nothing is discarded`() async throws {
        try await Deployment.with { deployment in
            try await TestDatabase.execute("DELETE FROM evt_queue_state", on: deployment.active)
            let words = "public.evt_queue_state has no row"
            for command in ["status", "doctor"] {
                let output = try await deployment.evt(command)
                #expect(output.status != 0 && output.text.contains(words), "\(output.text)")
            }
            let processes = try ["evt-pusher", "evt-discarder"].map { try deployment.start($0) }
            for process in processes {
                try await eventually("a word about it") { process.output.contains(words) }
                #expect(try await process.terminate().status == 0)
            }
        }
    }
}
