import EventStream
import EventStreamServer
import LibPQ

/// Calls of `registerConsumer` (protocol, section 4).
final class RegisterCalls {
    private let userLimit: Int
    private let peers: any PeerPort
    private let membership: Membership
    private let turns: CallTurns

    /// - Parameter userLimit: registered consumers of one user.
    init(userLimit: Int, peers: any PeerPort, membership: Membership, turns: CallTurns) {
        (self.userLimit, self.peers, self.membership, self.turns) = (userLimit, peers, membership, turns)
    }

    func register(_ component: ConsumerComponent, rid: RequestID?, peer: Peer) throws(EventStreamError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers do not register") }
        try turns.inTurn(peer) {
            guard self.peers.isCurrent(peer.caller) else { return self.turns.ended(peer) }
            guard let port = self.membership.consumers else {
                self.peers.answer(peer, rid, .internalError("not registered: the database cannot be reached"))
                return self.turns.ended(peer)
            }
            let (consumer, limit) = (ConsumerIdentity(user: peer.user, component: component), self.userLimit)
            port.register(consumer, want: peer.caller.user.rights.types, limit: limit) { result in
                switch result {
                case .success(true): self.peers.answer(peer, rid, .true)
                case .success(false):
                    self.peers.answer(
                        peer, rid,
                        .defenseRejected("not registered: \(peer.user) has \(limit) consumers; remove those not needed any more"))
                case .failure(let error): self.peers.answer(peer, rid, .internalError("not registered: \(error.message)"))
                }
                self.turns.ended(peer)
            }
        }
    }
}
