import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

struct Generation: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Shows which life of the stream the active database holds; says what a restored or copied database is.",
        discussion: """
            A database that was restored or failed over may lack events that were delivered, and gives their ids to others. After a \
            fail-over the pusher begins a new generation by itself (unless EVT_FAILOVER=manual). On another server, in another \
            database or another table the pusher refuses to start, for only you know what that database is:

            --renew: the home of the stream now, as after a restore or pg_upgrade. A new generation begins: consumers go on from \
            their positions in this database, ids from beyond all that were given, and archivers set aside what is not there any \
            more. Use it, too, where nothing shows that a database went back, as after a disk was put back to an earlier state.

            --fork: a copy, as for tests. It becomes a stream of its own: the archives of the first stream refuse its events.
            """)

    static let settings = Settings.facts(of: .database)
    @OptionGroup var flags: SettingFlags<Self>
    @Flag(help: "Begin a new generation: this database is the home of the stream now.") var renew = false
    @Flag(help: "Begin a stream of its own: this database is a copy.") var fork = false
    @Option(help: "Why, for `evt status`.") var reason = "an operator said so"

    func validate() throws {
        guard !renew || !fork else { throw ValidationError("--renew and --fork: a database is one or the other") }
    }

    func run() async throws {
        let database = try await flags.read().database()
        let (renew, fork, reason) = (renew, fork, reason)
        try await withDatabase(database.url, .stream(database.tables)) { connection in
            let info = try await StreamInfo.load(database.tables, from: connection, writing: renew)
            let generations = GenerationStore(info)
            var complaint: String?
            if renew { complaint = try await generations.renew(because: reason, on: connection) }
            if fork { complaint = try await generations.fork(because: "forked: \(reason)", on: connection) }
            if let complaint { printError("evt generation: \(complaint)") }
            let identity = try await generations.identity(on: connection)
            print("stream      \(identity.generation.stream)")
            print("generation  \(identity.generation.id)")
            if let doubt = try await generations.doubt(on: connection) { print("doubt       \(doubt)") }
        }
    }
}
