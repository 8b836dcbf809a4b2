import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import PosixLoop

struct Archive: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Looks after an archive: verifies it, or has a part of it archived again.",
        subcommands: [Verify.self, Rewind.self, Lost.self, Adopt.self, Expire.self, Expired.self, Erase.self, Erased.self])

    struct Target: ParsableArguments, ReadsSettings {
        static let settings = Settings.facts(of: .database, .archive) + [Settings.all.archiverComponent.facts]
        @OptionGroup var flags: SettingFlags<Self>

        /// Runs `body` with connections to both databases.
        func connected<Value: Sendable>(
            _ body:
                nonisolated(nonsending) @Sendable (
                    (info: StreamInfo, connection: Connection), (history: HistoryStore, connection: Connection)
                ) async throws -> Value
        ) async throws -> Value {
            let settings = try await flags.read()
            let (active, warehouse) = (try settings.database(), try settings.archive())
            let (tables, archiver) = (try settings.archiveTables(), try settings.archiverComponent)
            return try await withDatabase(active.url, .stream(active.tables)) { connection in
                let info = try await StreamInfo.load(active.tables, from: connection)
                let other = try await Connection.open(
                    ConnectionOptions(warehouse, applicationName: "evt", settings: commandLimits), on: connection.loop)
                defer { other.close() }
                do {
                    let history = try await HistoryStore.load(tables, archiver: archiver, from: other)
                    return try await body((info, connection), (history, other))
                } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
                    // Either database's: whoever has a lock on the warehouse's tables is the likelier.
                    if let found = try? await Hindrance.load(tables, from: other).text {
                        throw CommandFailure(printable("\(error.message): \(found)"))
                    }
                    throw error
                }
            }
        }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compares the archive with the active table, and with the sums of what has been discarded.",
            discussion: """
                Names every event that is missing, changed or extra in the archive; of events discarded long ago, the range in \
                which something is wrong. The exit status is 0 if all is well, 1 if not, 2 if it could not be determined.
                """)
        @OptionGroup var target: Target
        @Option(help: "From this event id on.") var from: String?
        @Option(help: "Up to and including this event id.") var to: String?

        func run() async throws {
            let first = try eventID(from, of: "--from") ?? EventID(1)
            let last = try eventID(to, of: "--to") ?? EventID(999_999_999_999_999_999)
            let summary: ArchiveVerifier.Summary
            do {
                summary = try await target.connected { active, warehouse in
                    try await ArchiveVerifier(active.info, warehouse.history).verify(
                        from: first, through: last, active: active.connection, warehouse: warehouse.connection
                    ) { print(Verify.line($0)) }
                }
            } catch {
                printError("Error: \(error)")
                throw ExitCode(2)
            }
            if let doubtful = summary.doubtful {
                print("doubtful up to \(doubtful): the active database went back; what is extra is set aside with the next event")
            }
            if let expired = summary.expired {
                print(
                    "expired  \(expired.first) to \(expired.last): \(expired.events) events were dropped on purpose; see `evt archive expired`"
                )
            }
            print("\(summary.verified) events verified, \(summary.wrong) findings")
            guard summary.wrong == 0 else { throw ExitCode.failure }
        }

        private static func line(_ finding: ArchiveVerifier.Finding) -> String {
            switch finding {
            case .missing(let id): "missing  \(id)"
            case .changed(let id): "changed  \(id)"
            case .extra(let id): "extra    \(id)"
            case .range(let record, let now):
                "range    \(record.first) to \(record.last): \(now.events) events"
                    + (now.events == record.sum.events ? ", but not the same" : " instead of")
                    + " \(record.sum.events) that were compared \(record.compared)"
            case .forgotten(let first, let last):
                "lost     \(first) to \(last): compared before they were discarded, and this warehouse knows nothing of it: was it "
                    + "restored or replaced?"
            case .aside(let open):
                "aside    \(open.events) events, \(open.first) to \(open.last), were moved out of the history: see `evt archive lost`, put them "
                    + "back or accept the loss"
            case .notErased(let number):
                "erasing  the erasure \(number) has not reached this archive: `evt archive erase --resume`"
            case .unknown(let first, let last, let events):
                "unknown  \(first) to \(last): \(events) events that were discarded without being compared"
            }
        }
    }

    struct Rewind: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Has everything after an event archived again: what is missing is added, what is there is compared.",
            discussion: """
                Stop every archiver of this name first, and start it again afterwards. Discarded events cannot come again: of an id before \
                these the archiver goes on after the newest discarded event.
                """)
        @OptionGroup var target: Target
        @Argument(help: "An event id, or 0.") var position: String

        func run() async throws {
            guard let id = position == "0" ? EventID.none : EventID(position) else {
                throw ValidationError("\(position) is no event id, or 0")
            }
            let text = try await target.connected { active, warehouse in
                let (admin, archiver) = (ConsumerAdmin(active.info), warehouse.history.archiver)
                let discarded = try await admin.rewind(archiver, to: id, on: active.connection)
                let position = max(id, discarded)
                try await warehouse.history.rewind(to: position, on: warehouse.connection)
                guard try await !admin.isServed(archiver.description, on: active.connection) else {
                    throw StoreError("\(archiver) has begun to archive meanwhile: stop it, and do this again")
                }
                return "\(archiver) goes on after \(position)"
                    + (discarded > id ? ": events up to \(discarded) are discarded and stay as they are archived" : "")
            }
            print(text)
        }
    }
}

extension Archive {
    struct Adopt: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Says that a warehouse is this database's, although another has archived into it last.",
            discussion: """
                In each session with the pusher an archiver writes a new token to its warehouse, and the active database stores the \
                token, too. A token that the active database does not know shows that a copy of the database has archived there, or \
                that the database was restored from a backup older than the token. Archivers and discarder refuse such a warehouse. \
                First find out what happened: `evt archive verify` compares the two databases, and `evt archive lost list` names what \
                was set aside. After this command the archiver goes on by itself.
                """)
        @OptionGroup var target: Target
        @Option(help: "Why it is the right one; kept in the active database.") var reason: String

        func run() async throws {
            guard !reason.allSatisfy(\.isWhitespace) else { throw ValidationError("--reason: say why it is the right one") }
            let reason = reason
            let text = try await target.connected { active, warehouse in
                let (history, tokens) = (warehouse.history, ArchiveTokens(active.info))
                let standing = try await history.present(on: warehouse.connection)
                let mine = try await GenerationStore(active.info).identity(on: active.connection).generation.stream
                if let other = standing.generation?.stream, other != mine {
                    throw StoreError(
                        "\(history.tables.history) holds another stream, \(other), than this database, \(mine): give each stream a "
                            + "history table of its own (EVT_HISTORY_TABLE)")
                }
                guard let token = standing.token, try await !tokens.knows(token, of: history.archiver, on: active.connection)
                else { return "nothing to adopt: the warehouse is that of this database" }
                try await tokens.adopt(token, of: history.archiver, because: reason, on: active.connection)
                return "\(history.archiver) archives into \(history.tables.history) from now on; see `evt archive verify`"
            }
            print(text)
        }
    }
}
