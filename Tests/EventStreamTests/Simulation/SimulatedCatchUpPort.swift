import EventStream
import EventStreamDatabase
import LibPQ

@testable import EventStreamPusher

/// The connection that reads history. Mistakes of how far a read goes are planted here.
final class SimulatedCatchUpPort: SimulatedPort, CatchUpPort {
    weak var delegate: (any CatchUpPortDelegate)?
    private let longestScan: Int64
    /// Reads under way, of those that take turns; and pages of theirs that are still in memory.
    private var reads = 0
    private(set) var pages: [Page] = []

    struct Page { weak var page: EventPage? }

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers, longestScan: Int64) {
        self.longestScan = longestScan
        super.init(surroundings, database, timers)
        keeper.prepare = { [unowned self] connection, done in
            connection.submit({ [database] in
                database.identity
            }) { [unowned self] identity in
                self.identity = identity
                done(identity != nil)
            }
        }
        keeper.opened = { [unowned self] _ in self.delegate?.catchUpOpened() }
        keeper.failed = { [unowned self] in self.delegate?.catchUpFailed(self.takeError()) }
    }

    func visible(after id: EventID, _ completion: @escaping (Result<EventIDSet, PostgresError>) -> Void) {
        let isBlind = surroundings.fault == .liveKnowsNothing
        submit({ [database] _ in isBlind ? EventIDSet() : database.visible(after: id) }, completion)
    }

    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<TablePage, PostgresError>) -> Void
    ) {
        let fault = surroundings.fault
        var (discarded, page): (EventID?, Result<SimulatedRows, PostgresError>) = (nil, .failure(.unreachable))
        if fault == .discardedBeforePage { submit({ [database] _ in EventID(database.discarded) }) { discarded = try? $0.get() } }
        let isWhole = stretch == .whole && fault != .resendCutShort
        if stretch == .limited { reads += 1 }
        // An archiver may ask again while a pusher still reads for it.
        if reads > 2 + surroundings.polls + 2 * surroundings.archivers {
            surroundings.broken("\(reads) reads of history are under way")
        }
        let types = want.types.map { types in SimulatedEvent.types.map { types.contains($0) } }
        submit({ [database, longestScan] _ in
            let end = fault == .historyBeyondSettled ? max(through, database.newest) : through
            return database.page(
                after: after, through: end, types: types, stretch: isWhole ? nil : longestScan,
                limits: (limits.rows, limits.bytes))
        }) { [unowned self] result in
            if stretch == .limited { self.reads -= 1 }
            page = result.map { rows in
                guard stretch == .limited else { return fault == .resendCutShort ? rows.claiming(through) : rows }
                return fault == .rejoinOffByOne ? rows.claiming(rows.through.next) : rows
            }
        }
        // Between the two anything may happen.
        submit({ [database] _ in EventID(database.discarded) }) { found in
            completion(page.flatMap { rows in found.map { TablePage(rows: rows, discarded: discarded ?? $0) } })
        }
    }

    func first(since time: EventTimestamp, _ completion: @escaping (Result<QueueQueries.Since, PostgresError>) -> Void) {
        surroundings.broken("nobody begins at a time")
    }
}
