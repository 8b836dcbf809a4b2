import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

// Removing and renaming, where a consumer may be an archiver with a position in a warehouse.

extension Consumers {
    /// The present name of a consumer, exactly as it is listed.
    static func ident<Command>(_ text: String, _ target: Target<Command>) throws -> String {
        text.contains(":") ? text : try target.identity(text).description
    }

    /// Runs `body` with the part of a warehouse that is a consumer's; nil if no warehouse is set.
    fileprivate static func withArchive<Value: Sendable>(
        of ident: String, _ settings: SettingsReader,
        _ body: nonisolated(nonsending) @Sendable (HistoryStore, Connection) async throws -> Value
    ) async throws -> Value? {
        guard let url = try settings.archiveURL(), let archiver = ConsumerIdentity(ident) else { return nil }
        let tables = try settings.archiveTables()
        return try await withDatabase(url, .archive(tables)) { connection in
            try await body(try await HistoryStore.load(tables, archiver: archiver, from: connection), connection)
        }
    }

    struct Remove: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Removes a consumer: its position is forgotten, and it holds no events back any more.",
            discussion: "What an archiver has archived stays in the warehouse, with its position there.")
        static let settings = Settings.facts(of: .database, .archive)
        @OptionGroup var target: Target<Self>
        @Argument var consumer: String
        @Flag(help: "Remove the consumer even if a receiver is connected.") var force = false

        func run() async throws {
            let (ident, force) = (try Consumers.ident(consumer, target), force)
            let settings = try await target.flags.read()
            let isArchiver = try await target.change {
                let isArchiver = try await $0.isArchiver(ident, on: $1)
                guard try await $0.remove(ident, evenIfServed: force, on: $1) else {
                    throw CommandFailure("there is no consumer \(ident)")
                }
                return isArchiver
            }
            print("removed \(ident)")
            do {
                let holdings = try await Consumers.withArchive(of: ident, settings) { try await $0.holdings(on: $1) }
                if let holdings = holdings ?? nil { return print("in the warehouse stay \(holdings)") }
            } catch {
                printError("the warehouse cannot be looked at: \(error)")
            }
            if isArchiver { print("in the warehouse stay its position and what it has archived") }
        }
    }

    struct Rename: AsyncParsableCommand, ReadsSettings {
        static let configuration = CommandConfiguration(
            abstract: "Gives a consumer's position to another name.",
            discussion: """
                evt consumers rename system:ARCHIVER local:ARCHIVER

                Stop its receiver first, and start it with the new name afterwards. Of an archiver the position, the sums and what was \
                set aside in the warehouse (EVT_ARCHIVE_URL) go along.
                """)
        static let settings = Settings.facts(of: .database, .archive)
        @OptionGroup var target: Target<Self>
        @Argument(help: "The present name, exactly as it is listed.") var from: String
        @Argument(help: "The new name.") var to: String
        @Flag(
            help:
                "Rename the consumer even if a receiver is connected: the session ends, and the receiver registers the present name again."
        )
        var force = false
        @Flag(help: "Leave an archiver's position in the warehouse under the present name.") var leaveArchive = false

        func run() async throws {
            let (old, new) = (try Consumers.ident(from, target), try target.identity(to))
            let settings = try await target.flags.read()
            let (force, leaveArchive) = (force, leaveArchive)
            let hasWarehouse = try settings.archiveURL() != nil
            let moved = try await target.change { admin, connection in
                let isArchiver = try await admin.isArchiver(old, on: connection)
                guard !isArchiver || hasWarehouse || leaveArchive else {
                    throw CommandFailure(
                        "\(old) is an archiver with a position in a warehouse, which would not know the new name: set EVT_ARCHIVE_URL, and "
                            + "that goes along; or --leave-archive, and what is there stays under the present name")
                }
                // The warehouse is done when the active database has nothing left to do but to commit; done again, nothing is changed.
                return try await connection.transaction {
                    try await admin.rename(old, to: new, evenIfServed: force, on: connection)
                    guard !leaveArchive else { return false }
                    return try await Consumers.withArchive(of: old, settings) { try await $0.rename(to: new, on: $1) } ?? false
                }
            }
            print("\(old) is now \(new)\(moved ? ", in the warehouse, too" : "")")
        }
    }
}
