import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

struct Parked: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists, retries and drops events that consumers could not process.",
        discussion: """
            evt parked list BILLING
            evt parked show BILLING 1234
            evt parked retry BILLING --all
            evt parked drop BILLING 1234 --yes

            The pusher parks an event that has failed as often as the consumer allows (EVT_MAX_ATTEMPTS, evt consumers set \
            --max-attempts; never by default), and delivers the events after it. A parked event keeps its data until the event is \
            processed or dropped, or the consumer is removed.
            """,
        subcommands: [List.self, Show.self, Retry.self, Drop.self], defaultSubcommand: List.self)

    /// Which events.
    struct Filter: ParsableArguments {
        @Option(help: "Only events whose error contains this text.") var error: String?
        @Option(help: "Only events parked before this time; UTC, like 2026-11-24T08:30:00Z.") var before: String?

        func choice(_ consumer: String?, ids: [String] = []) throws -> ParkedEvents.Choice {
            ParkedEvents.Choice(
                consumer, ids: ids.isEmpty ? nil : try ids.map { try eventID($0, of: "the id") ?? .none },
                before: try eventTime(before, of: "--before"), error: error)
        }
    }

    /// The events of one consumer that are to be changed.
    struct Selection<Command: ReadsSettings>: ParsableArguments {
        @OptionGroup var target: Consumers.Target<Command>
        @Argument var consumer: String
        @Argument(help: "The ids of the events.") var ids: [String] = []
        @Flag(help: "All parked events of the consumer that match --error and --before.") var all = false
        @OptionGroup var filter: Filter

        func validate() throws {
            guard all == ids.isEmpty else { throw ValidationError("name the ids of events, or --all") }
        }

        func choice() throws -> ParkedEvents.Choice { try filter.choice(try Consumers.ident(consumer, target), ids: ids) }
    }

    struct List: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(abstract: "Lists parked events, with what their receivers said.")
        static let settings = Settings.facts(of: .database)
        @OptionGroup var target: Consumers.Target<Self>
        @Argument(help: "The consumer; all unless given.") var consumer: String?
        @OptionGroup var filter: Filter
        @Flag(help: "Print one JSON object a line, with the data.") var json = false

        func run() async throws {
            let choice = try filter.choice(try consumer.map { try Consumers.ident($0, target) })
            var place: (consumer: String, id: EventID)?
            while true {
                let (start, json) = (place, json)
                let rows = try await target.look { info, connection in
                    try await ParkedEvents(info).list(choice, after: start, limit: 1000, withData: json, on: connection)
                }
                for row in rows { print(json ? row.json : row.line) }
                guard rows.count == 1000, let last = rows.last else { return }
                place = (last.consumer, last.id)
            }
        }
    }

    struct Show: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(abstract: "Prints one parked event with its data.")
        static let settings = Settings.facts(of: .database)
        @OptionGroup var target: Consumers.Target<Self>
        @Argument var consumer: String
        @Argument(help: "The id of the event.") var id: String

        func run() async throws {
            let choice = try Filter.parse([]).choice(try Consumers.ident(consumer, target), ids: [id])
            let rows = try await target.look { info, connection in
                try await ParkedEvents(info).list(choice, limit: 10, withData: true, on: connection)
            }
            guard !rows.isEmpty else { throw CommandFailure("\(consumer) has no parked event \(id)") }
            for row in rows { print(row.json) }
        }
    }

    struct Retry: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Delivers parked events again, in the order of their ids.",
            discussion: """
                The pusher delivers them within a fifth of EVT_SESSION_TIMEOUT, to a receiver with partial processing. An event that \
                fails again stays parked. Parked events with the same key are delivered together, in the order of their ids: if one of \
                them fails again, the later ones stay parked, too.
                """)
        static let settings = Settings.facts(of: .database)
        @OptionGroup var selection: Selection<Self>

        func run() async throws {
            let choice = try selection.choice()
            let count = try await selection.target.change { try await ParkedEvents($0.info).retry(choice, on: $1) }
            guard count > 0 || selection.all else { throw CommandFailure("none of these events is parked") }
            print("\(count == 1 ? "1 event" : "\(count) events") will be delivered again, while a receiver is connected")
        }
    }

    struct Drop: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Removes parked events: the consumer never gets them.",
            discussion: "Without --yes the command prints the events that would be removed, at most 20, and removes nothing.")
        static let settings = Settings.facts(of: .database)
        @OptionGroup var selection: Selection<Self>
        @Flag(help: "Remove them.") var yes = false

        func run() async throws {
            let (choice, yes) = (try selection.choice(), yes)
            let (rows, count) = try await selection.target.change { admin, connection in
                let parked = ParkedEvents(admin.info)
                return yes
                    ? ([], try await parked.drop(choice, on: connection))
                    : (try await parked.list(choice, limit: 20, on: connection), 0)
            }
            guard yes else {
                for row in rows { print(row.line) }
                throw CommandFailure(
                    rows.isEmpty
                        ? "none of these events is parked" : "nothing has been done: run the command with --yes to remove them")
            }
            guard count > 0 || selection.all else { throw CommandFailure("none of these events is parked") }
            print("\(count == 1 ? "1 event" : "\(count) events") removed")
        }
    }
}

extension ParkedEvents.Row {
    /// For people.
    fileprivate var line: String {
        let retry = isRetried ? ", to be delivered again" : ""
        let other = generation.map { ", of the earlier generation \($0)" } ?? ""
        let name = "\(printable(consumer))  \(id)  \(printable(type))" + (key.map { "  key \(printable($0))" } ?? "")
        return "\(name)  parked \(parked) after \(attempts) attempts\(retry)\(other): \(printable(error))"
    }

    fileprivate var json: String {
        jsonObject([
            ("consumer", jsonQuoted(consumer)), ("id", jsonQuoted("\(id)")), ("type", jsonQuoted(type)),
            ("ts", jsonQuoted(recorded)), ("data", data ?? "null"), ("key", jsonText(key)), ("meta", meta ?? "null"),
            ("parked", jsonQuoted(parked)), ("attempts", "\(attempts)"),
            ("error", jsonQuoted(error)), ("retry", "\(isRetried)"), ("generation", jsonText(generation)),
        ])
    }
}
