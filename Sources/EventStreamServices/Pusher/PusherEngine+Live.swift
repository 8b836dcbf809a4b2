import EventStore
import EventStream
import Postgres
import ZeroMQ

/// Live sessions: how they begin (protocol, section 5).
extension PusherEngine {
    func startLive(_ start: Start) {
        guard access.isCurrent(start.peer.caller), server?.isConnected(start.peer) ?? false else { return turnEnded(start.peer) }
        // What was committed before the call must not come: find out first what that is.
        tail.whenFresh { [unowned self] isFresh in
            guard isFresh else { return self.liveStarted(start, .failure(.internalError("the database cannot be reached"))) }
            let settled = self.tail.settled ?? .none
            guard self.tail.head?.gap != nil else { return self.liveStarted(start, .success((settled, EventIDSet()))) }
            // Beyond a gap that somebody may still fill there are events that were committed before the call, too.
            self.store.visible(after: settled) { [unowned self] result in
                self.liveStarted(
                    start,
                    result.map { (settled, $0) }.mapError { .internalError("the session could not start: \($0.message)") })
            }
        }
    }

    private func liveStarted(_ start: Start, _ result: Result<(after: EventID, known: EventIDSet), FutoInError>) {
        turnEnded(start.peer)
        switch result {
        case .failure(let error): refuse(start, error)
        case .success(let (position, known)):
            if let present = sessions.session(of: start.peer, start.component) { sessions.remove(present) }
            // Others of its calls were under way at the same time.
            guard sessions.count(of: start.peer.account) < configuration.limits.userSessions else {
                return refuse(start, tooManySessions(start.peer))
            }
            let delivery = LiveDelivery(
                after: position,
                configuration: .init(
                    requestMax: configuration.delivery.requestMax, queueMax: configuration.queueMax,
                    ackTimeout: configuration.delivery.ackTimeout))
            let session = Session(
                consumer: start.consumer, peer: start.peer, want: start.want, precise: start.precise, start: position,
                common: position, lease: Lease(timeout: configuration.sessionTimeout, at: .now), kind: .live(delivery))
            session.known = known
            guard accept(start, after: position, common: position) != .unreachable else { return }
            sessions.insert(session)
            catchUp(session, after: position)
            keepTime()
        }
    }
}
