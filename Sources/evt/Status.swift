import ArgumentParser
import CommandLineSupport
import EventStore
import EventStream
import EventStreamServices

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows how the stream stands: head, backlog, and how far each consumer is.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var database: DatabaseOptions
    @Flag(help: "Print JSON, for scripts.") var json = false

    func run() async throws {
        let database = try await SettingsReader(common, database).database()
        let status = try await withConnection(to: database.url) { connection in
            try await StreamStatus.load(try await StreamInfo.load(database.tables, from: connection), from: connection)
        }
        if json { print(Status.json(status)) } else { Status.show(status) }
    }

    private static func show(_ status: StreamStatus) {
        print("head     \(status.head)")
        print("backlog  \(status.backlog) events, \(status.backlogBytes) bytes of data")
        for writer in status.writers {
            print("waiting  for \(writer): events recorded after its own wait until it ends")
            print("         \(writer.advice)")
        }
        if let slowest = status.slowest {
            print(
                "held     by \(slowest.consumer): \(slowest.lag) events, \(slowest.lagBytes) bytes of data, "
                    + "the oldest recorded \(slowest.since)")
        }
        if let refusal = status.refusal { print("kept     \(refusal)") }
        print("")
        if status.consumers.isEmpty {
            print("no consumers are registered: nothing is discarded")
        } else {
            printConsumers(status.consumers)
        }
    }

    private static func json(_ status: StreamStatus) -> String {
        func object(_ members: [(String, String)]) -> String {
            "{" + members.map { "\(jsonQuoted($0.0)):\($0.1)" }.joined(separator: ",") + "}"
        }
        let consumers = status.consumers.map {
            object([
                ("consumer", jsonQuoted($0.consumer)), ("position", "\($0.position)"), ("lag", "\($0.lag)"),
                ("lag_bytes", "\($0.lagBytes)"), ("lag_since", $0.since.isEmpty ? "null" : jsonQuoted($0.since)),
                ("lag_seconds", "\($0.lagSeconds)"), ("last_seen", jsonQuoted($0.lastSeen)), ("served", "\($0.isServed)"),
            ])
        }
        let writers = status.writers.map {
            object([
                ("pid", $0.processID.map { "\($0)" } ?? "null"), ("prepared", $0.prepared.map { jsonQuoted($0) } ?? "null"),
                ("application", jsonQuoted($0.application)), ("user", jsonQuoted($0.user)), ("state", jsonQuoted($0.state)),
                ("since", jsonQuoted($0.since)), ("age_seconds", "\($0.age)"), ("query_start", jsonQuoted($0.queryStart)),
            ])
        }
        return object([
            ("head", "\(status.head)"), ("backlog", "\(status.backlog)"), ("backlog_bytes", "\(status.backlogBytes)"),
            ("discarded", "\(status.discarded)"), ("held_by", status.slowest.map { jsonQuoted($0.consumer) } ?? "null"),
            ("refusal", status.refusal.map { jsonQuoted($0) } ?? "null"),
            ("consumers", "[\(consumers.joined(separator: ","))]"), ("waiting_for", "[\(writers.joined(separator: ","))]"),
        ])
    }
}
