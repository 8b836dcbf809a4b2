import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

struct Consumers: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Lists and changes registered consumers, in the database.",
        discussion: "A consumer is user:component; without a user it is the local one's.",
        subcommands: [
            List.self, Register.self, Remove.self, Rename.self, Set.self, Pause.self, Resume.self, Reslice.self, Wait.self,
        ],
        defaultSubcommand: List.self)

    static let settings = Settings.facts(of: .database)

    struct Target<Command: ReadsSettings>: ParsableArguments {
        @OptionGroup var flags: SettingFlags<Command>

        func change<Value: Sendable>(
            _ body: @Sendable (ConsumerAdmin, Connection) async throws -> Value
        ) async throws -> Value {
            let database = try await flags.read().database()
            return try await withDatabase(database.url, .stream(database.tables)) { connection in
                try await body(
                    ConsumerAdmin(try await StreamInfo.load(database.tables, from: connection, writing: true)), connection)
            }
        }

        /// Looks at the tables, of a standby as well.
        func look<Value: Sendable>(_ body: @Sendable (StreamInfo, Connection) async throws -> Value) async throws -> Value {
            let database = try await flags.read().database()
            return try await withDatabase(database.url, .stream(database.tables)) { connection in
                try await body(try await StreamInfo.load(database.tables, from: connection), connection)
            }
        }

        func identity(_ text: String) throws -> ConsumerIdentity {
            guard let identity = ConsumerIdentity(text), !identity.component.isLive else {
                throw ValidationError(
                    "\(text) is no consumer: component, or user:component, the component 1 to 16 of A-Z, a-z, 0-9 and _, not LIVE"
                )
            }
            return identity
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists the consumers with their positions.")
        @OptionGroup var target: Target<Consumers>

        func run() async throws {
            let database = try await target.flags.read().database()
            let status = try await withDatabase(database.url, .stream(database.tables)) { connection in
                try await StreamStatus.load(try await StreamInfo.load(database.tables, from: connection), from: connection)
            }
            print(status.consumers.table(.standard))
        }
    }

    struct Register: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Registers a consumer: the events after its position are kept for it.",
            discussion: """
                Without --from the consumer begins with the oldest event that is not discarded. Discarded events come from the archive: \
                give it in EVT_ARCHIVE_URL, here and to evt-pusher.
                """)
        static let settings = Settings.facts(of: .database, .archive)
        @OptionGroup var target: Target<Self>
        @Argument var consumer: String
        @Option(help: "Where to begin: \(startHelp)") var from: String?
        @Option(
            help: """
                Into how many slices to cut the consumer, 2 to 256: each has a receiver of its own, and all events with a key come to the \
                same slice.
                """) var slices: Int?

        func run() async throws {
            let identity = try target.identity(consumer)
            guard slices.map(EventSlice.counts.contains) ?? true else {
                throw ValidationError("--slices is 2 to 256, not \(slices ?? 0)")
            }
            let slices = slices
            let start = try from.map { try startPosition($0, of: "--from") }
            let archive = try ArchiveSetting(await target.flags.read())
            let text = try await target.change { admin, connection in
                let archive = archive.link
                defer { archive?.close() }
                guard
                    let placement = try await admin.register(
                        identity, slices: slices, at: start, archive: archive, on: connection)
                else {
                    let remedy = start == nil ? "" : "; evt consumers set \(identity) --to \(start!) moves the position"
                    return "\(identity) was registered already" + remedy
                }
                let report = StartReport("\(identity)", placement, admin.starts(archive))
                return try await
                    (["registered \(report.place): \(report.following(on: connection))"]
                    + (start == nil ? report.leftOut(admin, on: connection) : report.unread(on: connection))).joined(
                        separator: "\n")
            }
            print(text)
        }
    }

    struct Set: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Moves a consumer's position, back to get events again, forward to skip them; or sets its limits.",
            discussion: """
                A session in progress ends and begins anew at the position. A receiver that runs drops what it has processed already: \
                restart it to see events again. Discarded events come from the archive: give it in EVT_ARCHIVE_URL, here and to \
                evt-pusher.
                """)
        static let settings = Settings.facts(of: .database, .archive)
        @OptionGroup var target: Target<Self>
        @Argument var consumer: String
        @Argument(help: "The same as --to.") var position: String?
        @Option(help: "Where to go on: \(startHelp)") var to: String?
        @OptionGroup var lag: MaxLagOption
        @Option(
            help: """
                How often an event may fail before it is parked; 0 for never, default for what the pusher is set to (EVT_MAX_ATTEMPTS). \
                The session in progress begins anew.
                """) var maxAttempts: String?

        func run() async throws {
            let ident = try Consumers.ident(consumer, target)
            let change = try lag.change
            guard to == nil || position == nil, to ?? position != nil || change != nil || maxAttempts != nil else {
                throw ValidationError("say where to go on, once, or --max-lag, or --max-attempts: \(startHelp)")
            }
            let start = try (to ?? position).map { try startPosition($0, of: to == nil ? "the position" : "--to") }
            if let change { print(try await target.change { try await change.make(ident, $0.info, on: $1) }) }
            if let maxAttempts {
                guard let limit = maxAttempts == "default" ? -1 : Int(maxAttempts), (-1...1_000_000).contains(limit) else {
                    throw ValidationError("--max-attempts is 0 to 1000000 or default, not \(maxAttempts)")
                }
                try await target.change { try await $0.set(ident, maxAttempts: limit < 0 ? nil : limit, on: $1) }
                print("the maximum number of attempts of \(ident) is \(limit < 0 ? "as the pusher is set" : "\(limit)")")
            }
            guard let start else { return }
            let archive = try ArchiveSetting(await target.flags.read())
            let report = try await target.change { admin, connection in
                let archive = archive.link
                defer { archive?.close() }
                let placement = try await admin.set(ident, to: start, archive: archive, on: connection)
                let report = StartReport(ident, placement, admin.starts(archive))
                return try await ([report.moved] + report.unread(on: connection)).joined(separator: "\n")
            }
            print(report)
        }
    }
}
