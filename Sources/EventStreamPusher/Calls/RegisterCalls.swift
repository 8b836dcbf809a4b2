import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

/// Calls of `registerConsumer` (protocol, sections 4 and 8.1).
final class RegisterCalls {
    private let userLimit: Int
    private let loop: any LoopPort
    private let head: HeadDriver
    private let peers: any PeerPort
    private let membership: Membership
    private let reads: EventReads
    private let turns: CallTurns

    /// - Parameter userLimit: registered consumers of one user.
    init(
        userLimit: Int, loop: any LoopPort, head: HeadDriver, peers: any PeerPort, membership: Membership, reads: EventReads,
        turns: CallTurns
    ) {
        (self.userLimit, self.loop, self.head, self.peers) = (userLimit, loop, head, peers)
        (self.membership, self.reads, self.turns) = (membership, reads, turns)
    }

    /// - Parameter start: where it begins; nil for what the table holds.
    func register(
        _ component: ConsumerComponent, start: StartPosition?, rid: RequestID?, peer: Peer
    ) throws(EventStreamError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers do not register") }
        try turns.inTurn(peer) {
            guard self.peers.isCurrent(peer.caller) else { return self.turns.ended(peer) }
            let answer = { (outcome: Result<RawJSON, EventStreamError>) in
                self.peers.answer(peer, .init(outcome: outcome, rid: rid))
                self.turns.ended(peer)
            }
            let new = ConsumerStore.Registration(
                ConsumerIdentity(user: peer.user, component: component), want: peer.caller.user.rights.types,
                limit: self.userLimit)
            guard let start else { return self.register(new, answer) }
            self.place(new, start, answer)
        }
    }

    private func register(
        _ new: ConsumerStore.Registration, _ answer: @escaping (Result<RawJSON, EventStreamError>) -> Void
    ) {
        guard let port = membership.consumers else {
            return answer(.failure(.internalError("not registered: the database cannot be reached")))
        }
        port.register(new) { result in
            switch result {
            case .success(.done): answer(.success(.true))
            case .success(.tooMany):
                answer(
                    .failure(
                        .defenseRejected(
                            "not registered: \(new.consumer.user) has \(new.limit) consumers; remove those not needed any more")))
            case .success(.discarded(let id)):
                self.reads.saw(discarded: id)
                answer(.failure(self.reads.unavailable(before: new.lowest)))
            case .failure(let error): answer(.failure(.internalError("not registered: \(error.message)")))
            }
        }
    }

    // MARK: Where to begin

    /// Finds the position, and what this pusher can serve of what is discarded; then registers.
    private func place(
        _ new: ConsumerStore.Registration, _ start: StartPosition,
        _ answer: @escaping (Result<RawJSON, EventStreamError>) -> Void
    ) {
        position(of: start) { found in
            guard case .success(let position) = found else { return answer(found.map { _ in .true }) }
            self.reads.lowestPosition(for: new.want) { found in
                switch found {
                case .success(let lowest):
                    var placed = new
                    (placed.position, placed.lowest) = (position, lowest)
                    self.register(placed, answer)
                case .failure(let failure): answer(.failure(failure.error))
                }
            }
        }
    }

    private func position(
        of start: StartPosition, _ completion: @escaping (Result<EventID, EventStreamError>) -> Void
    ) {
        guard start != .first else { return completion(.success(.none)) }
        // Positions never go past what is settled; and what was committed before the call counts.
        head.whenFresh { isFresh in
            guard isFresh, let settled = self.head.settled else { return completion(.failure(.unavailable)) }
            switch start {
            case .first, .now: completion(.success(settled))
            case .after(let id) where id <= settled: completion(.success(id))
            case .after(let id):
                guard let port = self.membership.consumers else { return completion(.failure(.unavailable)) }
                port.newest(after: settled) { newest in
                    guard case .success(let newest) = newest else { return completion(.failure(.unavailable)) }
                    let isKnown = newest.map { id <= $0 } ?? false
                    completion(
                        isKnown
                            ? .success(settled)
                            : .failure(.invalidRequest("start: \(id) is beyond the newest event, \(newest ?? settled)")))
                }
            case .since(let time):
                self.reads.position(since: time, now: self.loop.wallClock, settled: settled) { found in
                    completion(found.map { min($0 ?? settled, settled) }.mapError(\.error))
                }
            }
        }
    }
}
