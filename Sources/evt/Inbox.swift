import ArgumentParser
import CommandLineSupport
import EventStreamDatabase
import EventStreamServer
import LibPQ

struct Inbox: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Makes the inbox in a receiver's own database: each event counts once there.",
        discussion: """
            evt inbox --url postgresql://billing@db3/billing
            evt inbox --print | psql postgresql://billing@db3/billing

            The inbox is two tables and two functions in the PostgreSQL in which a receiver does its work, not in the database of the \
            stream. The receiver claims events in the transaction of its work, with evt_inbox_claim; evt_inbox_lost names events that \
            the receiver has processed and that the stream lacks since a fail-over. Run again, the command replaces the functions and \
            changes no rows. Run it again after each upgrade.
            """)
    static let settings = Settings.facts(of: .inbox)
    @OptionGroup var flags: SettingFlags<Self>
    @Flag(help: "Print the SQL instead of running it.") var print = false
    @Option(help: "The schema for the tables and functions; it must exist.") var schema = "public"

    func run() async throws {
        guard let inbox = InboxSchema(in: schema) else {
            throw ValidationError("--schema: \(printable(schema)) is no name of a schema")
        }
        guard !print else { return Swift.print(inbox.script, terminator: "") }
        let url = try await flags.read().inboxURL()
        let isNew = try await withConnection(to: url, settings: commandLimits) { try await inbox.make(on: $0) }
        Swift.print(
            isNew
                ? "made the tables evt_inbox and evt_inbox_events and their functions in the schema \(printable(schema))"
                : "the inbox is there already; its functions are up to date")
    }
}
