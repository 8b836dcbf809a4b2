import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

/// Calls of `registerConsumer` (protocol, sections 4 and 8.1).
final class RegisterCalls {
    private let userLimit: Int
    private let peers: any PeerPort
    private let membership: Membership
    private let reads: EventReads
    private let starts: StartFinder
    private let turns: CallTurns

    /// - Parameter userLimit: registered consumers of one user.
    init(
        userLimit: Int, peers: any PeerPort, membership: Membership, reads: EventReads, starts: StartFinder, turns: CallTurns
    ) {
        (self.userLimit, self.peers, self.membership) = (userLimit, peers, membership)
        (self.reads, self.starts, self.turns) = (reads, starts, turns)
    }

    /// - Parameters:
    ///   - start: where it begins; nil for what the table holds.
    ///   - slices: how many slices it is cut into; nil for none.
    func register(
        _ component: ConsumerComponent, start: StartPosition?, slices: Int?, rid: RequestID?, peer: Peer
    ) throws(EventStreamError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers do not register") }
        let longest = ConsumerIdentity(user: peer.user, component: component).slices(slices ?? 0).last?.description ?? ""
        guard longest.utf8.count <= 64 else {
            throw .invalidRequest("the name of a slice, \(longest), is longer than the 64 bytes that the table takes")
        }
        try turns.inTurn(peer) {
            guard self.peers.isCurrent(peer.caller) else { return self.turns.ended(peer) }
            let answer = { (outcome: Result<RawJSON, EventStreamError>) in
                self.peers.answer(peer, .init(outcome: outcome, rid: rid))
                self.turns.ended(peer)
            }
            let new = ConsumerRegistering.Registration(
                ConsumerIdentity(user: peer.user, component: component), slices: slices, want: peer.caller.user.rights.types,
                limit: self.userLimit)
            guard let start else { return self.register(new, answer) }
            self.place(new, start, answer)
        }
    }

    private func register(
        _ new: ConsumerRegistering.Registration, _ answer: @escaping (Result<RawJSON, EventStreamError>) -> Void
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
            case .success(.otherwise(let slices)):
                answer(.failure(.invalidRequest("\(new.consumer) is registered already, \(RegisterCalls.text(slices))")))
            case .success(.discarded(let id)):
                self.reads.saw(discarded: id)
                answer(.failure(self.starts.unavailable(before: new.lowest)))
            case .failure(let error): answer(.failure(.internalError("not registered: \(error.message)")))
            }
        }
    }

    static func text(_ slices: Int?) -> String { slices.map { "with \($0) slices" } ?? "without slices" }

    /// Finds where it begins, if it is not registered yet; then registers.
    private func place(
        _ new: ConsumerRegistering.Registration, _ start: StartPosition,
        _ answer: @escaping (Result<RawJSON, EventStreamError>) -> Void
    ) {
        guard let port = membership.consumers, let asked = membership.trusted else { return answer(.failure(.unavailable)) }
        port.slices(of: new.consumer) { known in
            switch known {
            case .success(nil): break
            case .success(let present?) where present == new.slices ?? 1: return answer(.success(.true))
            case .success(let present?):
                let text = RegisterCalls.text(present > 1 ? present : nil)
                return answer(.failure(.invalidRequest("\(new.consumer) is registered already, \(text)")))
            case .failure(let error): return answer(.failure(.internalError("not registered: \(error.message)")))
            }
            self.starts.find(start) { found in
                guard case .success(let (position, lowest)) = found else { return answer(found.map { _ in .true }) }
                // A position of another generation means nothing in this one.
                guard self.membership.trusted == asked else { return answer(.failure(.unavailable)) }
                var placed = new
                (placed.position, placed.lowest) = (position, lowest)
                self.register(placed, answer)
            }
        }
    }
}
