import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

/// Finds the position at which a new consumer is to begin, and how far back this pusher can serve one (protocol, section 8.1).
final class StartFinder {
    typealias Completion<Value> = (Result<Value, EventStreamError>) -> Void

    private let loop: any LoopPort
    private let head: HeadDriver
    private let membership: Membership
    private let reads: EventReads
    private let history: (any HistoryPort)?
    /// For so long a pusher that has just begun waits for its archive.
    private static let patience = Duration.seconds(4)

    init(loop: any LoopPort, head: HeadDriver, membership: Membership, reads: EventReads, history: (any HistoryPort)?) {
        (self.loop, self.head, self.membership) = (loop, head, membership)
        (self.reads, self.history) = (reads, history)
    }

    /// The position, and the lowest one below the discarded events from which on all events can be had; nil if there is none.
    func find(_ start: StartPosition, _ completion: @escaping Completion<(position: EventID, lowest: EventID?)>) {
        lowest(until: loop.now + StartFinder.patience) { found in
            guard case .success(let lowest) = found else { return completion(found.map { (.none, $0) }) }
            self.position(of: start, lowest: lowest) { completion($0.map { ($0, lowest) }) }
        }
    }

    /// What was asked for begins too early.
    func unavailable(before lowest: EventID?) -> EventStreamError {
        if let lowest { return .archiveBegins(after: lowest) }
        guard history != nil else { return reads.noArchive }
        return .historyUnavailable(
            "events up to \(reads.discarded) were discarded, and the archive does not have all of these; a consumer can begin after "
                + "\(reads.discarded) at the earliest")
    }

    private func lowest(until deadline: MonotonicTime, _ completion: @escaping Completion<EventID?>) {
        guard let history else { return completion(.success(nil)) }
        guard history.isConnected else {
            guard loop.now < deadline else {
                return completion(.failure(.historyUnavailable("the archive cannot be reached; try again")))
            }
            loop.after(.milliseconds(50)) { self.lowest(until: deadline, completion) }
            return
        }
        guard let generation = membership.trusted?.generation else { return completion(.failure(.unavailable)) }
        history.look { result in
            switch result {
            case .failure(let error): completion(.failure(.unreadable(error)))
            case .success(let extent):
                switch extent.reach(after: .none, of: generation) {
                case .through: completion(.success(EventID.none))
                case .missing(let first): completion(.success(first))
                case .never, .waiting: completion(.success(nil))
                }
            }
        }
    }

    private func position(of start: StartPosition, lowest: EventID?, _ completion: @escaping Completion<EventID>) {
        guard start != .first else { return completion(.success(.none)) }
        // Positions never go past what is settled; and what was committed before the call counts.
        head.whenFresh { isFresh in
            guard isFresh, let settled = self.head.settled else { return completion(.failure(.unavailable)) }
            switch start {
            case .first, .now: completion(.success(settled))
            case .after(let id) where id <= settled: completion(.success(id))
            case .after(let id): self.beyond(settled, id, completion)
            case .since(let time):
                // Of a time to come, whatever time events say they have.
                guard time <= self.loop.wallClock else { return completion(.success(settled)) }
                self.position(since: time, lowest: lowest) { completion($0.map { min($0 ?? settled, settled) }) }
            }
        }
    }

    /// An event that is there may wait for others to be settled.
    private func beyond(_ settled: EventID, _ id: EventID, _ completion: @escaping Completion<EventID>) {
        guard let port = membership.consumers else { return completion(.failure(.unavailable)) }
        port.newest(after: settled) { newest in
            guard case .success(let newest) = newest else { return completion(.failure(.unavailable)) }
            guard let newest, id <= newest else {
                return completion(
                    .failure(.invalidRequest("start: \(id) is beyond the newest event, \(newest ?? settled)")))
            }
            completion(.success(settled))
        }
    }

    /// The position before the first event in the order of ids that was recorded at a time or later; nil if there is no such event.
    private func position(since time: EventTimestamp, lowest: EventID?, _ completion: @escaping Completion<EventID?>) {
        guard let reader = membership.catchUp else { return completion(.failure(.unavailable)) }
        reader.first(since: time) { result in
            guard case .success(let found) = result else { return completion(.failure(.unavailable)) }
            self.reads.saw(discarded: found.discarded)
            let isOlderThere = found.oldest.map { $0 < found.first ?? EventID(.max) } ?? false
            guard found.discarded > .none else { return completion(.success(found.first?.before)) }
            guard let history = self.history, let lowest else {
                // Where the table has nothing of before the time, what was discarded may be of after it.
                return completion(
                    isOlderThere ? .success(found.first?.before) : .failure(self.unavailable(before: nil)))
            }
            history.first(since: time, after: lowest, through: found.discarded) { archived in
                switch archived {
                case .failure(let error): completion(.failure(.unreadable(error)))
                case .success(let archived):
                    let first = [archived.first, found.first].compactMap { $0 }.min()?.before
                    // The same of an archive that lacks the beginning: unless it has something of before the time.
                    let isKnown = lowest == .none || archived.hasEarlier || (archived.first == nil && isOlderThere)
                    completion(isKnown ? .success(first) : .failure(self.unavailable(before: lowest)))
                }
            }
        }
    }
}

extension EventStreamError {
    fileprivate static func unreadable(_ error: PostgresError) -> EventStreamError {
        .historyUnavailable("the archive cannot be read: \(error.message); try again")
    }
}

extension EventID {
    fileprivate var before: EventID { EventID(rawValue - 1) }
}
