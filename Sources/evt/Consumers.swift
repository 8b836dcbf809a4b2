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
        subcommands: [List.self, Register.self, Remove.self, Rename.self, Set.self, Pause.self, Resume.self],
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

    struct Register: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Registers a consumer: from now on no event is discarded before it has confirmed it.")
        @OptionGroup var target: Target<Consumers>
        @Argument var consumer: String

        func run() async throws {
            let identity = try target.identity(consumer)
            let isNew = try await target.change { try await $0.register(identity, on: $1) }
            print(isNew ? "registered \(identity)" : "\(identity) was registered already")
        }
    }

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Moves a consumer's position: back to get events again, forward to skip them.",
            discussion: "A receiver that runs drops what it has processed already: restart it to see events again.")
        @OptionGroup var target: Target<Consumers>
        @Argument var consumer: String
        @Argument(help: "An event id, 0 for the oldest event there is, or head for the newest.") var position: String

        func run() async throws {
            let ident = consumer.contains(":") ? consumer : try target.identity(consumer).description
            let id = position == "head" ? nil : position == "0" ? EventID.none : EventID(position)
            guard position == "head" || id != nil else { throw ValidationError("\(position) is no event id, 0 or head") }
            let result = try await target.change { try await $0.set(ident, to: id, on: $1) }
            print(
                "\(ident) is at \(result.position)"
                    + (result.someDiscarded ? "; some events after that are discarded already" : ""))
        }
    }
}
