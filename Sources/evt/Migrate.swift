import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import PosixLoop

struct Migrate: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Creates the tables, or brings them up to date, in the databases that are set.",
        discussion: """
            Works on the active database (EVT_DATABASE_URL) and on the warehouse (EVT_ARCHIVE_URL), whichever is set. An \
            existing futoin-eventstream database is adopted: its rows, positions and grants are kept. Run again, it does nothing.

            With --roles it also makes the group roles evt_app, evt_generator, evt_pusher, evt_archiver, evt_discarder and \
            evt_monitor where they are missing, and gives each what it needs, and no more. Whoever runs it owns the tables or is \
            a superuser, and has CREATEROLE or finds the roles made. Run it again after each upgrade.

            CREATE ROLE my_pusher LOGIN IN ROLE evt_pusher
            """)

    static let settings = Settings.facts(of: .database, .archive)
    @OptionGroup var flags: SettingFlags<Self>
    @Flag(help: "Make group roles with the least rights for each process, too.") var roles = false
    @Flag(
        help: """
            Let the stream and the warehouse take event types of 1 to 64 of A-Z, a-z, 0-9, _, ., :, / and -, such as order.paid.v2. This \
            cannot be undone. Receivers in other languages may know the narrow types only.
            """) var wideTypes = false
    @Flag(help: "Print the SQL instead of running it.") var print = false
    @Option(help: "The schema that printed names without one are in.") var schema = "public"

    func run() async throws {
        let settings = try await flags.read()
        let tables = try settings.streamTables()
        let archiveTables = try settings.archiveTables()
        if print {
            let (stream, history) = (tables.qualified(in: schema), archiveTables.qualified(in: schema))
            Swift.print("-- The active database\n" + Migrator.script(stream.schema, isWide: wideTypes))
            if roles { Swift.print("-- Roles in the active database\n" + Migrator.script(stream.roleGrants)) }
            Swift.print("-- The warehouse database\n" + Migrator.script(history.schema, isWide: wideTypes))
            if roles { Swift.print("-- Roles in the warehouse database\n" + Migrator.script(history.roleGrants)) }
            return
        }
        let (active, warehouse) = (try settings.databaseURL(), try settings.archiveURL())
        guard active != nil || warehouse != nil else {
            throw ValidationError("set EVT_DATABASE_URL for the active database, EVT_ARCHIVE_URL for the warehouse, or both")
        }
        if let active {
            try await migrate("active database", active, .stream(tables)) {
                try await Migrator.migrateActive(tables, on: $0) {
                    Swift.print(
                        "active database: the tables are of a dump without rows; recorded their steps, and began a new stream")
                }
            } grant: {
                try await Migrator.grantActive(tables, on: $0)
            }
            try await warnOfColumns(active, tables)
            if !roles {
                let missing = try await withDatabase(active, .stream(tables)) { try await Migrator.missingRights(tables, on: $0) }
                if !missing.isEmpty {
                    printError(
                        "active database: the group roles lack what is new: run evt migrate --roles, or \(missing.joined(separator: "; "))"
                    )
                }
            }
        }
        try await migrateWarehouse(warehouse, archiveTables)
        guard wideTypes else { return }
        // The warehouse first: what it does not take must not be recorded.
        if let warehouse {
            try await widen("warehouse", warehouse, .archive(archiveTables)) {
                try await Migrator.widenWarehouse(archiveTables, on: $0)
            }
        }
        if let active {
            try await widen("stream", active, .stream(tables)) { try await Migrator.widenActive(tables, on: $0) }
        }
    }

    private func warnOfColumns(_ active: String, _ tables: StreamTables) async throws {
        try await withDatabase(active, .stream(tables)) { connection in
            let info = try await StreamInfo.load(tables, from: connection)
            let columns = try await TableTrouble.addedColumns(info, on: connection)
            if !columns.isEmpty { printError("active database: \(TableTrouble.columnsText(columns, of: info.tables))") }
        }
    }

    private func migrateWarehouse(_ warehouse: String?, _ archiveTables: ArchiveTables) async throws {
        if let warehouse {
            try await migrate("warehouse", warehouse, .archive(archiveTables)) {
                try await Migrator.migrateWarehouse(archiveTables, on: $0) {
                    Swift.print("warehouse: the tables are of a dump without rows; recorded their steps")
                }
            } grant: {
                try await Migrator.grantWarehouse(archiveTables, on: $0)
            }
        }
    }

    private func widen(
        _ what: String, _ url: String, _ tables: LockedTables, _ work: @Sendable (Connection) async throws -> Void
    ) async throws {
        try await withDatabase(url, tables, settings: ["lock_timeout": "60s"]) { try await work($0) }
        Swift.print("\(what): takes wide event types")
    }

    private func migrate(
        _ what: String, _ url: String, _ tables: LockedTables, _ work: @Sendable (Connection) async throws -> [Migration],
        grant: @Sendable (Connection) async throws -> Migrator.RoleReport
    ) async throws {
        let roles = roles
        // Its steps have a limit of their own. Another one at work, which may move many rows, is waited for longer.
        try await withDatabase(url, tables, settings: ["lock_timeout": "60s"]) { connection in
            let applied = try await work(connection)
            for migration in applied { Swift.print("\(what): applied step \(migration.number), \(migration.name)") }
            if applied.isEmpty { Swift.print("\(what): up to date") }
            guard roles else { return }
            let report = try await grant(connection)
            for role in report.created { Swift.print("\(what): created the role \(role)") }
            Swift.print("\(what): granted what they need to \(report.roles.map(\.rawValue).joined(separator: ", "))")
            for advice in report.advice { printError("\(what): \(advice)") }
        }
    }
}

extension StreamTables {
    func qualified(in schema: String) -> StreamTables {
        StreamTables(events: events.qualified(in: schema), consumers: consumers.qualified(in: schema))
    }
}

extension ArchiveTables {
    func qualified(in schema: String) -> ArchiveTables { ArchiveTables(history: history.qualified(in: schema)) }
}
