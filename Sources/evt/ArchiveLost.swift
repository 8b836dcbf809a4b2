import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

extension Archive {
    struct Lost: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Looks after events that were moved out of the history because the active database lacked them.",
            discussion: """
                They are in evt_history_lost, and `evt archive verify` names them until they are put back or the loss is accepted. \
                Put them back if the database that lacked them was the wrong one.
                """,
            subcommands: [List.self, Restore.self, Accept.self], defaultSubcommand: List.self)

        /// Which of them.
        struct Choice: ParsableArguments, ReadsSettings {
            static let settings = Settings.facts(of: .archive) + [Settings.all.archiverComponent.facts]
            @OptionGroup var flags: SettingFlags<Self>
            @Option(help: "From this event id on.") var from: String?
            @Option(help: "Up to and including this event id.") var to: String?

            func first() throws -> EventID { try eventID(from, of: "--from") ?? EventID(.min) }
            func last() throws -> EventID { try eventID(to, of: "--to") ?? EventID(.max) }

            /// Runs `body` with a connection to the warehouse.
            func connected<Value: Sendable>(
                _ body: nonisolated(nonsending) @Sendable (LostEvents, HistoryStore, Connection) async throws -> Value
            ) async throws -> Value {
                let settings = try await flags.read()
                let (tables, archiver) = (try settings.archiveTables(), try settings.archiverComponent)
                return try await withDatabase(try settings.archive(), .archive(tables)) { connection in
                    let history = try await HistoryStore.load(tables, archiver: archiver, from: connection)
                    return try await body(LostEvents(history), history, connection)
                }
            }
        }

        struct List: AsyncParsableCommand {
            static let configuration = CommandConfiguration(abstract: "Lists them.")
            @OptionGroup var choice: Choice

            func run() async throws {
                var first = try choice.first()
                let last = try choice.last()
                while true {
                    let start = first
                    let rows = try await choice.connected { lost, _, connection in
                        try await lost.list(from: start, through: last, limit: 1000, on: connection)
                    }
                    for row in rows {
                        print(
                            "\(row.id)  \(row.type)  set aside \(row.moved) by the generation \(row.generation)"
                                + (row.acceptance.map { "  accepted \(printable($0))" } ?? ""))
                    }
                    guard rows.count == 1000, let end = rows.last?.id else { return }
                    first = end.next
                }
            }
        }

        struct Restore: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Puts them back into the history, as far as their ids are free there or have the same events.")
            @OptionGroup var choice: Choice

            func run() async throws {
                let (first, last) = (try choice.first(), try choice.last())
                let result = try await choice.connected { lost, _, connection in
                    try await lost.restore(from: first, through: last, on: connection)
                }
                print("\(result.events) events put back")
                guard !result.conflicts.isEmpty else { return }
                let ids = result.conflicts.prefix(20).map(\.description).joined(separator: ", ")
                throw CommandFailure(
                    "\(result.conflicts.count) ids stay set aside, for the history or another row has another event there: \(ids)"
                        + "\(result.conflicts.count > 20 ? ", …" : ""). Delete the one that is wrong, or accept the loss")
            }
        }

        struct Accept: AsyncParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Accepts that they are lost: they stay where they are, and are not named any more.")
            @OptionGroup var choice: Choice
            @Option(help: "Why; kept with them.") var reason: String

            func run() async throws {
                guard !reason.allSatisfy(\.isWhitespace) else { throw ValidationError("--reason: say why the loss is accepted") }
                let (first, last, reason) = (try choice.first(), try choice.last(), reason)
                let count = try await choice.connected { lost, _, connection in
                    try await lost.accept(from: first, through: last, because: reason, on: connection)
                }
                print("the loss of \(count) events is accepted")
            }
        }
    }
}
