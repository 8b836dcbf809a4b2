package import EventStream
package import LibPQ

/// Which of the discarded events an archive can give to a consumer.
package enum ArchiveReach: Hashable, Sendable {
    /// All events after the first of these ids and up to the second.
    case events(after: EventID, through: EventID)
    /// Not all events of any range, and why.
    case nothing(String)

    /// - Parameter discarded: the archiver that goes back furthest counts, of those that have everything up to this id.
    package init(_ extent: ArchiveExtent, of generation: StreamGeneration, through discarded: EventID) {
        let ours = extent.parts.filter { $0.generation?.stream == generation.stream }
        let present = ours.filter { $0.generation == generation }
        let whole = present.filter { $0.want == .all }
        let complete = whole.filter { $0.position >= discarded }
        if let best = complete.min(by: { $0.completeFrom < $1.completeFrom }) ?? whole.max(by: { $0.position < $1.position }) {
            self = .events(after: best.completeFrom, through: best.position)
        } else if !present.isEmpty {
            self = .nothing("the archiver archives only some types of events")
        } else if !ours.isEmpty {
            self = .nothing("the archiver has archived nothing of the present generation of the stream yet")
        } else if let other = extent.parts.compactMap(\.generation?.stream).first {
            self = .nothing("the archive holds another stream, \(other)")
        } else {
            self = .nothing("no archiver has archived there yet")
        }
    }

    /// The least position a consumer can begin at, where events up to `discarded` are gone from the table.
    package func leastStart(discarded: EventID) -> EventID {
        guard case .events(let after, let through) = self, through >= discarded else { return discarded }
        return min(after, discarded)
    }

    /// Why a consumer cannot begin before its least position; a part of a sentence about the archive.
    func shortcoming(discarded: EventID) -> String {
        switch self {
        case .nothing(let why): why
        case .events(let after, let through) where through >= discarded: "the archive has all events only after \(after)"
        case .events(_, let through): "the archive reaches only up to \(through)"
        }
    }
}

extension HistoryStore {
    /// Which of the events up to `discarded` the archive has.
    package func reach(
        of generation: StreamGeneration, through discarded: EventID, on connection: Connection
    ) async throws(PostgresError) -> ArchiveReach {
        let extent = ArchiveExtent(try await connection.query(ArchiveExtent.statement(tables)))
        return ArchiveReach(extent, of: generation, through: discarded)
    }
}

/// An archive that is connected to once it is needed.
package final class ArchiveOnDemand {
    private let options: ConnectionOptions
    private let tables: ArchiveTables
    private var opened: (store: HistoryStore, connection: Connection)?

    package init(_ options: ConnectionOptions, _ tables: ArchiveTables) { (self.options, self.tables) = (options, tables) }

    var name: String { (opened?.store.tables ?? tables).history.description }

    /// Runs `body` with the archive.
    ///
    /// - Parameter other: the connection to the active database; that to the archive is on the same loop.
    /// - Throws: ``StoreError`` if the archive cannot be read: an error of the archive must not pass for one of the active database.
    func read<Value>(
        beside other: Connection, _ body: (HistoryStore, Connection) async throws -> Value
    ) async throws -> Value {
        do {
            let (store, connection) = try await open(beside: other)
            return try await body(store, connection)
        } catch let error as PostgresError {
            throw StoreError("the archive \(name) cannot be read: \(error)")
        }
    }

    private func open(beside other: Connection) async throws -> (HistoryStore, Connection) {
        if let opened, opened.connection.isOpen { return opened }
        let connection = try await Connection.open(options, on: other.loop)
        do {
            let archiver = ConsumerIdentity(component: .archiver)
            let store = try await HistoryStore.load(tables, archiver: archiver, from: connection, writing: false)
            opened = (store, connection)
            return (store, connection)
        } catch {
            connection.close()
            throw error
        }
    }

    package func close() { opened?.connection.close() }
}
