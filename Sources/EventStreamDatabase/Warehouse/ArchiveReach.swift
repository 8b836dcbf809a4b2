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
