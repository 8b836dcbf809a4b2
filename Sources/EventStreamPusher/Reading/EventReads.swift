import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

/// Reads older events, from the event table or from the archive: a consumer may stand anywhere between the first archived event and
/// the newest one, and cannot tell.
///
/// The source is chosen for each read: what follows an id below the discarded events is in the archive. A page of the event table counts
/// only if nothing after its first id had been discarded by a look that began when the page was complete: TRUNCATE shows a
/// snapshot of before an empty table. Otherwise the page is thrown away, and the archive is read. Sound because the discarded id moves
/// in the transaction that deletes or truncates.
final class EventReads {
    enum Failure: Error {
        case database(PostgresError)
        /// The archive is there, or will be; the same read may succeed later.
        case waiting(String)
        /// This pusher cannot read that far back.
        case unavailable(EventStreamError)

        /// What a caller is told who cannot wait.
        var error: EventStreamError {
            switch self {
            case .database(let error): .internalError("the events could not be read: \(error.message)")
            case .waiting(let text): .historyUnavailable("\(text); try again")
            case .unavailable(let error): error
            }
        }
    }

    typealias Completion<Value> = (Result<Value, Failure>) -> Void

    private let membership: Membership
    private let history: (any HistoryPort)?
    private let loop: any LoopPort
    private let logger: Logger
    private var told = TroubleLog()
    /// Up to here events of the present generation are known to be discarded.
    private(set) var discarded = EventID.none
    /// How often data was erased: what was read before that is read again.
    private var erasures = 0
    /// Why somebody waits for the archive, and when that was last so.
    private var wait: (reason: String, at: MonotonicTime)?

    init(_ membership: Membership, history: (any HistoryPort)?, loop: any LoopPort, logger: Logger) {
        (self.membership, self.history, self.loop, self.logger) = (membership, history, loop, logger)
    }

    func start() { history?.start() }
    func stop() { history?.stop() }

    /// Why somebody waits for the archive; nil if nobody does.
    var trouble: String? {
        // Whoever waits asks again, several times a second.
        wait.flatMap { loop.now - $0.at < .seconds(5) ? $0.reason : nil }
    }

    /// What was known is of another generation.
    func beginAnew() { discarded = .none }

    /// Somebody has seen how far events are discarded.
    func saw(discarded id: EventID) { discarded = max(discarded, id) }

    /// Data was erased from the databases: reads that are under way may have it still, and begin anew.
    func forget() { erasures += 1 }

    // MARK: Reading

    /// Reads what comes after `after`, in the order of ids, up to and including `through`, or as far as limits and stretch allow.
    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch = .limited,
        limits: QueueReader.Limits, _ completion: @escaping Completion<any FetchedRows>
    ) {
        guard after >= discarded else {
            return readArchive(
                after: after, through: min(through, discarded), want: want, stretch: stretch, limits: limits, completion)
        }
        readTable(after: after, through: through, want: want, stretch: stretch, limits: limits) { result in
            switch result {
            case .success(let page) where page.discarded <= after: completion(.success(page.rows))
            case .success(let page):
                self.saw(discarded: page.discarded)
                self.read(after: after, through: through, want: want, stretch: stretch, limits: limits, completion)
            case .failure(let error): completion(.failure(error))
            }
        }
    }

    /// Reads the event table only, whatever has been discarded.
    func readTable(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch = .limited,
        limits: QueueReader.Limits, _ completion: @escaping Completion<TablePage>
    ) {
        guard let reader = membership.catchUp else { return completion(.failure(.database(.unreachable))) }
        let begun = erasures
        reader.read(after: after, through: through, want: want, stretch: stretch, limits: limits) { result in
            guard self.erasures == begun else {
                return self.readTable(
                    after: after, through: through, want: want, stretch: stretch, limits: limits, completion)
            }
            completion(result.mapError { .database($0) })
        }
    }

    /// Reads all of a stretch, from as many pages as it takes: what was sent before must come again, whole.
    func readWhole(
        after: EventID, through: EventID, want: EventFilter, limits: QueueReader.Limits,
        _ completion: @escaping Completion<[EventPage]>
    ) { readOn([], from: after, erasures, through: through, want: want, limits: limits, completion) }

    /// - Parameters:
    ///   - pages: what was read so far, from `start` on.
    ///   - begun: how often data had been erased then.
    private func readOn(
        _ pages: [EventPage], from start: EventID, _ begun: Int, through: EventID, want: EventFilter, limits: QueueReader.Limits,
        _ completion: @escaping Completion<[EventPage]>
    ) {
        let after = pages.last?.through ?? start
        read(after: after, through: through, want: want, stretch: .whole, limits: limits) { result in
            switch result {
            case .success where self.erasures != begun && !pages.isEmpty:
                self.readWhole(after: start, through: through, want: want, limits: limits, completion)
            case .success(let rows):
                let pages = pages + [rows.page()]
                guard rows.through < through, !rows.isCut else { return completion(.success(pages)) }
                self.readOn(
                    pages, from: start, self.erasures, through: through, want: want, limits: limits, completion)
            case .failure(let error): completion(.failure(error))
            }
        }
    }

    // MARK: The archive

    private func readArchive(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping Completion<any FetchedRows>
    ) {
        guard let trusted = membership.trusted else { return completion(.failure(.database(.unreachable))) }
        guard let history else { return completion(.failure(.unavailable(noArchive))) }
        guard history.isConnected else { return completion(.failure(waits("the archive cannot be reached\(reason(history))"))) }
        let begun = erasures
        history.read(after: after, through: through, want: want, stretch: stretch, limits: limits) { result in
            guard self.erasures == begun else {
                return self.read(after: after, through: through, want: want, stretch: stretch, limits: limits, completion)
            }
            // The stream may have begun anew meanwhile.
            guard self.membership.trusted == trusted else { return completion(.failure(.database(.unreachable))) }
            let page: ArchivePage
            switch result {
            case .success(let found): page = found
            case .failure(let error): return completion(.failure(self.waits("the archive cannot be read: \(error.message)")))
            }
            let generation = trusted.generation
            let reach = page.before.reach(after: after, of: generation).and(page.after.reach(after: after, of: generation))
            switch reach {
            case .through(let end) where end >= page.rows.through:
                self.reads()
                completion(.success(page.rows))
            // Past its position the archive may lack events still, or have events of an earlier generation.
            case .through(let end):
                self.readArchive(after: after, through: end, want: want, stretch: stretch, limits: limits, completion)
            case .missing(let first): completion(.failure(.unavailable(.archiveBegins(after: first))))
            case .never(let text): completion(.failure(.unavailable(.historyUnavailable(text))))
            case .waiting(let text): completion(.failure(self.waits(text)))
            }
        }
    }

    private func reads() {
        wait = nil
        if told.isGoodNews() { logger.info("the archive can be read again") }
    }

    private func waits(_ text: String) -> Failure {
        wait = (text, loop.now)
        if told.isNews(text) {
            logger.warning("consumers that read from the archive wait", metadata: [.reason: "\(text)"])
        }
        return .waiting(text)
    }

    private func reason(_ history: any HistoryPort) -> String { history.failure.map { ": \($0)" } ?? "" }

    /// What is said where this pusher has no archive.
    var noArchive: EventStreamError {
        .historyUnavailable(
            "events up to \(discarded) were discarded, and this pusher reads no archive (EVT_ARCHIVE_URL): a consumer can begin after "
                + "\(discarded) at the earliest"
                + (membership.heartbeat.othersReadArchive ? "; another pusher of this stream reads the archive" : ""))
    }

    /// Looks whether what follows a position can be read; nil if it can, now or later.
    func refusal(after position: EventID, _ completion: @escaping (EventStreamError?) -> Void) {
        guard position < discarded else { return completion(nil) }
        guard let history else { return completion(noArchive) }
        guard history.isConnected, let generation = membership.trusted?.generation else { return completion(nil) }
        history.look { result in
            guard case .success(let extent) = result else { return completion(nil) }
            switch extent.reach(after: position, of: generation) {
            case .missing(let first): completion(.archiveBegins(after: first))
            case .never(let text): completion(.historyUnavailable(text))
            case .through, .waiting: completion(nil)
            }
        }
    }
}

extension EventStreamError {
    static func archiveBegins(after first: EventID) -> EventStreamError {
        .historyUnavailable("the archive begins after event \(first): a consumer can begin there at the earliest")
    }
}
