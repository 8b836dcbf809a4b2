import EventStream
import EventStreamDatabase
import LibPQ

@testable import EventStreamPusher

/// The connection that reads an archive. Its archiver has copied all that is discarded; after a fail-over it is late to follow.
final class SimulatedHistoryPort: SimulatedPort, HistoryPort {
    private let longestScan: Int64
    let failure: String? = nil

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers, longestScan: Int64) {
        self.longestScan = longestScan
        super.init(surroundings, database, timers)
        keeper.prepare = { connection, done in connection.submit({ true }) { done($0 ?? false) } }
        keeper.opened = { _ in }
        keeper.failed = {}
    }

    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<ArchivePage, PostgresError>) -> Void
    ) {
        var before: Result<ArchiveExtent, PostgresError> = .failure(.unreachable)
        var page: Result<SimulatedRows, PostgresError> = .failure(.unreachable)
        let types = want.types.map { types in SimulatedEvent.types.map { types.contains($0) } }
        submit({ [database] _ in database.extent() }) { before = $0 }
        submit({ [database, longestScan] _ in
            database.archivedPage(
                after: after, through: through, types: types, stretch: stretch == .whole ? nil : longestScan,
                limits: (limits.rows, limits.bytes))
        }) { page = $0 }
        submit({ [database] _ in database.extent() }) { found in
            completion(
                before.flatMap { before in
                    page.flatMap { rows in found.map { ArchivePage(rows: rows, before: before, after: $0) } }
                })
        }
    }

    func look(_ completion: @escaping (Result<ArchiveExtent, PostgresError>) -> Void) {
        submit({ [database] _ in database.extent() }, completion)
    }

    func first(
        since time: EventTimestamp, after: EventID, through: EventID,
        _ completion: @escaping (Result<(first: EventID?, hasEarlier: Bool), PostgresError>) -> Void
    ) { surroundings.broken("nobody begins at a time") }
}
