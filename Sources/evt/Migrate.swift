import ArgumentParser
import CommandLineSupport
import EventLoop
import EventStore
import EventStream
import EventStreamServices
import Postgres

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Creates the tables, or brings them up to date, in the databases that are set.",
        discussion: """
            Works on the active database (EVT_DATABASE_URL) and on the warehouse (EVT_ARCHIVE_URL), whichever is set. An \
            existing futoin-eventstream database is adopted: its rows, positions and grants are kept. Run again, it does nothing.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var database: DatabaseOptions
    @OptionGroup var archive: ArchiveOptions
    @Flag(help: "Print the SQL instead of running it.") var print = false
    @Option(help: "The schema that printed names without one are in.") var schema = "public"

    func run() async throws {
        let settings = try await SettingsReader(common, database, archive)
        let tables = try settings.streamTables()
        let archiveTables = try settings.archiveTables()
        if print {
            let stream = StreamTables(
                events: tables.events.qualified(in: schema), consumers: tables.consumers.qualified(in: schema))
            let history = ArchiveTables(history: archiveTables.history.qualified(in: schema))
            Swift.print("-- The active database\n" + Migrator.script(stream.migrationSQL, recordedIn: stream.migrations))
            Swift.print("-- The warehouse database\n" + Migrator.script(history.migrationSQL, recordedIn: history.migrations))
            return
        }
        let active = try? settings.database().url
        guard active != nil || settings.archiveURL() != nil else {
            throw ValidationError("set EVT_DATABASE_URL for the active database, EVT_ARCHIVE_URL for the warehouse, or both")
        }
        if let active {
            try await migrate("active database", active) { try await Migrator.migrateActive(tables, on: $0) }
        }
        if let url = settings.archiveURL() {
            try await migrate("warehouse", url) { try await Migrator.migrateWarehouse(archiveTables, on: $0) }
        }
    }

    private func migrate(
        _ what: String, _ url: String, _ work: @Sendable (Connection) async throws -> [Migration]
    ) async throws {
        try await withConnection(to: url) { connection in
            let applied = try await work(connection)
            for migration in applied { Swift.print("\(what): applied step \(migration.number), \(migration.name)") }
            if applied.isEmpty { Swift.print("\(what): up to date") }
        }
    }
}
