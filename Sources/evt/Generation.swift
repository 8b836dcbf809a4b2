import ArgumentParser
import CommandLineSupport
import EventStore
import EventStream
import EventStreamServices
import Postgres

struct Generation: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows which life of the stream the active database holds, or begins a new one after a restore.",
        discussion: """
            A database that was restored or failed over may lack events that were delivered, and gives their ids to others. The \
            pusher notices this where it can, and begins a new generation by itself; where it cannot, as after a disk was put back to \
            an earlier state while nothing ran, do it with --renew before you start the pusher. Consumers then go on from their \
            positions in this database, ids from beyond all that were given, and archivers set aside what is not there any more.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var database: DatabaseOptions
    @Flag(help: "Begin a new generation.") var renew = false
    @Option(help: "Why, for `evt status`.") var reason = "an operator said so"

    func run() async throws {
        let database = try await SettingsReader(common, database).database()
        let (renew, reason) = (renew, reason)
        try await withConnection(to: database.url) { connection in
            let info = try await StreamInfo.load(database.tables, from: connection, writing: renew)
            let generations = GenerationStore(info)
            if renew, let complaint = try await generations.renew(because: reason, on: connection) {
                printError("evt generation: \(complaint)")
            }
            let identity = try await generations.identity(on: connection)
            print("stream      \(identity.generation.stream)")
            print("generation  \(identity.generation.generation)")
        }
    }
}
