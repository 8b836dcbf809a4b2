import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import Glibc

struct History: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Prints archived events in the order of the stream, one JSON object a line.",
        discussion: """
            Reads the warehouse (EVT_ARCHIVE_URL) in pages: the size of the archive does not matter. Times are UTC, like \
            2026-11-24 or 2026-11-24T08:30:00Z. With --follow the events that follow are printed as they are settled, from the active \
            table (EVT_DATABASE_URL), until the command is stopped.
            """)

    static let settings = Settings.facts(of: .database, .archive)
    @OptionGroup var flags: SettingFlags<Self>
    @OptionGroup var wanted: WantOptions
    @Option(help: "From this event id on.") var from: String?
    @Option(help: "Up to and including this event id.") var to: String?
    @Option(help: "Recorded at this time or later.") var since: String?
    @Option(help: "Recorded before this time.") var until: String?
    @Option(help: "The first so many.") var limit: Int?
    @Flag(help: "Print only how many there are.") var count = false
    @Flag(help: "Go on with what is recorded, without a gap.") var follow = false

    func validate() throws {
        guard !follow || (!count && to == nil && until == nil) else {
            throw ValidationError("--follow does not go with --to, --until and --count")
        }
    }

    func run() async throws {
        let settings = try await flags.read()
        var query = HistoryReader.Query()
        query.want = try wanted.filter()
        query.first = try eventID(from, of: "--from") ?? query.first
        query.last = try eventID(to, of: "--to") ?? query.last
        query.since = try eventTime(since, of: "--since")
        query.until = try eventTime(until, of: "--until")
        guard limit ?? 1 >= 0 else { throw ValidationError("--limit: at least 0") }
        guard !count || limit == nil else { throw ValidationError("--limit and --count do not go together") }
        let (url, tables) = (try settings.archive(), try settings.archiveTables())
        let archiver = ConsumerIdentity(component: .archiver)
        if follow {
            OutputReader.endWhenGone()
            let following = HistoryFollow(
                database: try settings.database(), warehouse: url, tables: tables, starts: try ArchiveSetting(settings),
                want: query.want, fields: wanted.allFields, since: query.since)
            return try await following.run(from: try eventID(from, of: "--from"), limit: limit ?? .max)
        }
        let (chosen, limit, count, fields) = (query, limit, count, wanted.allFields)
        OutputReader.endWhenGone()
        try await withDatabase(url, .archive(tables)) { connection in
            let reader = HistoryReader(try await HistoryStore.load(tables, archiver: archiver, from: connection, writing: false))
            guard !count else {
                print(try await reader.count(chosen, on: connection))
                return
            }
            let printer = LinePrinter()
            try await reader.read(chosen, limit: limit ?? .max, on: connection) { event in
                printer.add(event.with(only: fields))
            }
            printer.flush()
        }
    }
}

func eventTime(_ text: String?, of option: String) throws -> EventTimestamp? {
    guard let text else { return nil }
    guard let time = eventTime(text) else {
        throw ValidationError("\(option): \(text) is no time; one is like 2026-11-24 or 2026-11-24T08:30:00Z (UTC)")
    }
    return time
}

/// Reads a time, or a date alone; UTC.
func eventTime(_ text: String) -> EventTimestamp? {
    EventTimestamp(wire: text.utf8) ?? EventTimestamp(wire: "\(text)T00:00:00Z".utf8)
}

func eventID(_ text: String?, of option: String) throws -> EventID? {
    guard let text else { return nil }
    guard let id = EventID(text) else { throw ValidationError("\(option): \(text) is no event id") }
    return id
}

/// Gathers lines, so that not each is a write of its own.
private final class LinePrinter {
    private var events: [Event] = []

    func add(_ event: Event) {
        events.append(event)
        if events.count >= 200 || event.data.bytes.count > 100_000 { flush() }
    }

    func flush() {
        do {
            try OutputReader.show(events)
        } catch {
            // There is no use in reading on.
            printError("Error: \(error)")
            exit(1)
        }
        events = []
    }
}
