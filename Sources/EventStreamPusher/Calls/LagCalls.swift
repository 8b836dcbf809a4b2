import EventStream
import EventStreamDatabase
import EventStreamServer

/// Calls of `lag`: how far a consumer is behind (protocol, section 4).
final class LagCalls {
    private let figures: any FiguresPort
    private let peers: any PeerPort
    /// Calls under way: they all wait for the same figures, and must not hold up anything else.
    private var underWay: [Account: Int] = [:]
    private static let limit = 100

    init(_ figures: any FiguresPort, peers: any PeerPort) {
        self.figures = figures
        self.peers = peers
    }

    func lag(of component: ConsumerComponent, rid: RequestID?, peer: Peer) throws(EventStreamError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers have no position") }
        let consumer = ConsumerIdentity(user: peer.user, component: component)
        guard underWay[peer.account, default: 0] < LagCalls.limit else {
            throw .defenseRejected("too many of these calls are under way; wait for the answers")
        }
        underWay[peer.account, default: 0] += 1
        figures.refresh {
            if let known = self.outcome(for: consumer, peer) { return self.answer(peer, rid, known) }
            // It may have been registered since.
            self.figures.renew {
                let missing = EventStreamError.notRegistered("\(consumer) is not registered")
                self.answer(peer, rid, self.outcome(for: consumer, peer) ?? .failure(missing))
            }
        }
    }

    /// - Returns: nil if the figures do not have it.
    private func outcome(for consumer: ConsumerIdentity, _ peer: Peer) -> Result<RawJSON, EventStreamError>? {
        guard let status = figures.status else { return .failure(.unavailable) }
        guard let found = status.consumers.first(where: { $0.consumer == consumer.description }) else {
            let slice = status.consumers.lazy.compactMap { ConsumerIdentity($0.consumer) }
                .first { $0.whole == consumer && $0 != consumer }?.component.slice
            return slice.map { .failure(.needsSlice(consumer, of: $0.count)) }
        }
        // Types the user may not see are not to be counted for it; a session or a poll notes what it wants.
        guard found.want.intersection(peer.caller.user.rights.types) == found.want else {
            return .failure(
                .unauthorized("\(consumer) has wanted event types this user may not see: begin a session or poll, then ask"))
        }
        return .success(ConsumerLag(events: found.lag.events, seconds: found.lag.seconds, isPaused: found.isPaused).json)
    }

    private func answer(_ peer: Peer, _ rid: RequestID?, _ outcome: Result<RawJSON, EventStreamError>) {
        let left = underWay[peer.account, default: 1] - 1
        underWay[peer.account] = left > 0 ? left : nil
        // Whose rights have changed meanwhile has begun anew.
        if peers.isCurrent(peer.caller) { peers.answer(peer, .init(outcome: outcome, rid: rid)) }
    }
}
