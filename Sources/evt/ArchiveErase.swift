import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

extension Archive {
    struct Erase: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Erases the data of events, in the active table and in the archive.",
            discussion: """
                evt archive erase 1003 1007 --reason "request 4711"
                evt archive erase 1003 1007 --reason "request 4711" --yes

                Without --yes the command prints what would be erased, and nothing is done. The data of an event becomes null, and its \
                key and meta are removed; id, type and time stay. Consumers that read the event again get null. What is erased is \
                recorded: `evt archive erased` lists the record. If the command is interrupted, `evt archive erase --resume` completes \
                the erasure. Without EVT_ARCHIVE_URL only the active table is reached.
                """)
        static let settings = Settings.facts(of: .database, .archive) + [Settings.all.archiverComponent.facts]
        @OptionGroup var flags: SettingFlags<Self>
        @Argument(help: "Event ids.") var ids: [String] = []
        @Option(help: "Why; kept with the record.") var reason: String?
        @Flag(help: "Erase it.") var yes = false
        @Flag(help: "Complete the erasures that were interrupted, or that have not reached this archive.") var resume = false
        @Option(help: "Wait so long for the pushers: 100ms to 1h.") var timeout = "30s"

        func validate() throws {
            guard resume == ids.isEmpty else {
                throw ValidationError(resume ? "--resume goes without ids" : "name the ids of events, or --resume")
            }
            guard !resume || (reason == nil && !yes) else { throw ValidationError("--resume goes without --reason and --yes") }
            guard resume || reason.map({ !$0.allSatisfy(\.isWhitespace) }) ?? false else {
                throw ValidationError("--reason: say why the data is to go")
            }
        }

        func run() async throws {
            let ids = try ids.map { text in
                guard let id = EventID(text) else { throw ValidationError("\(text) is no event id") }
                return id
            }
            let (yes, reason, timeout) = (yes, reason, try duration(timeout, of: "--timeout"))
            let settings = try await flags.read()
            if try settings.archiveURL() == nil { print("EVT_ARCHIVE_URL is not set: no archive is reached") }
            try await Erase.connected(settings) { erasure in
                if let reason {
                    let plan = try await erasure.plan(ids)
                    try Erase.show(plan)
                    guard yes else {
                        throw CommandFailure(
                            "the data of \(plan.events.count) events would be erased, and nothing has been done: run the command with --yes to erase it"
                        )
                    }
                    try await erasure.begin(plan, because: reason)
                }
                let incomplete = try await erasure.incomplete()
                if incomplete.isEmpty { print("every erasure is complete") }
                for each in incomplete { try await Erase.complete(each, erasure, within: timeout) }
            }
        }

        private static func show(_ plan: ErasurePlan) throws {
            guard plan.missing.isEmpty else {
                throw CommandFailure(
                    "there is no event \(plan.missing.prefix(20).map(\.description).joined(separator: ", "))"
                        + "\(plan.missing.count > 20 ? ", …" : ""): nothing has been done")
            }
            for (event, places) in plan.events {
                print("\(line(event))  \(places.map(\.rawValue).joined(separator: ", "))")
            }
        }

        static func line(_ event: ErasedEvent) -> String { "\(event.id)  \(printable(event.type))  \(event.time)" }

        private static func complete(_ each: Erasure, _ erasure: EventErasure, within timeout: Duration) async throws {
            let rows = try await erasure.eraseInDatabases(each)
            print("erasure \(each.number): the data of \(rows) rows is erased")
            let holders = try await erasure.close(each, within: timeout)
            guard holders.isEmpty else {
                throw CommandFailure(
                    "erasure \(each.number) stays open: \(holders.map { printable($0.name) }.joined(separator: ", ")) may still have the "
                        + "data in memory, and has not answered within \(timeout.components.seconds) s. End it if it is frozen; then "
                        + "`evt archive erase --resume`")
            }
            print("erasure \(each.number) is complete")
        }

        /// Runs `body` with the active database, and with the archive if there is one.
        private static func connected(
            _ settings: SettingsReader, _ body: nonisolated(nonsending) @Sendable (EventErasure) async throws -> Void
        ) async throws {
            let (active, warehouse) = (try settings.database(), try settings.archiveURL())
            let (tables, archiver) = (try settings.archiveTables(), try settings.archiverComponent)
            try await withDatabase(active.url, .stream(active.tables)) { connection in
                let info = try await StreamInfo.load(active.tables, from: connection, writing: true)
                guard let warehouse else { return try await body(EventErasure((info, connection), nil)) }
                let other = try await Connection.open(
                    ConnectionOptions(warehouse, applicationName: "evt", settings: commandLimits), on: connection.loop)
                defer { other.close() }
                do {
                    let history = try await HistoryStore.load(tables, archiver: archiver, from: other)
                    try await body(EventErasure((info, connection), (history, other)))
                } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
                    if let found = try? await Hindrance.load(tables, from: other).text {
                        throw CommandFailure(printable("\(error.message): \(found)"))
                    }
                    throw error
                }
            }
        }
    }

    struct Erased: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(abstract: "Lists what was erased by `evt archive erase`.")
        static let settings = Settings.facts(of: .database)
        @OptionGroup var flags: SettingFlags<Self>

        func run() async throws {
            let active = try await flags.read().database()
            let erasures = try await withDatabase(active.url, .stream(active.tables)) { connection in
                try await ErasureStore(StreamInfo.load(active.tables, from: connection)).list(on: connection)
            }
            for erasure in erasures {
                let end =
                    switch erasure.progress {
                    case .closed: "erased"
                    case .begun, .erased: "NOT COMPLETE"
                    }
                print(
                    "erasure \(erasure.number)  \(end)  \(erasure.at) by \(printable(erasure.role)): \(printable(erasure.reason))"
                )
                for event in erasure.events { print("  \(Erase.line(event))") }
            }
        }
    }
}
