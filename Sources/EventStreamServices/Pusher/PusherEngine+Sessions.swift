import EventStore
import EventStream
import Logging
import Postgres
import ZeroMQ

/// Sessions: how they begin and end (protocol, section 5).
extension PusherEngine {
    struct Start {
        let component: ConsumerComponent
        let want: EventFilter
        let precise: Bool
        let asksOrigin: Bool
        let rid: RequestID?
        let peer: Peer
        var consumer: ConsumerIdentity { ConsumerIdentity(user: peer.user, component: component) }
    }

    func readyToReceive(_ start: Start) throws(FutoInError) {
        // A session that goes on needs no database for that.
        if let present = sessions.session(of: start.peer, start.component), !present.isReleased,
            present.want == start.want,
            present.precise == start.precise
        {
            accept(start, after: present.start, common: present.common)
            return pump(present)
        }
        guard tail.isConnected, window != nil else { throw .internalError("the database cannot be reached") }
        guard
            sessions.count(of: start.peer.account) < configuration.limits.userSessions
                || sessions.session(of: start.peer, start.component) != nil
        else { throw tooManySessions(start.peer) }
        if start.component.isLive { return startLive(start) }
        try requireReliable()
        if let waiting = claiming[start.consumer] {
            // One claim at a time; this call is looked at again after it.
            guard waiting.count < 100 else { throw .consumerBusy("\(start.consumer) is being claimed by others") }
            claiming[start.consumer] = waiting + [{ [unowned self] in self.retry(start) }]
            return
        }
        let now = MonotonicTime.now
        guard let present = sessions.reliable(start.consumer) else { return try claim(start, after: .none) }
        guard case .reliable(let delivery, let epoch) = present.kind else { return }
        if present.peer.identity == start.peer.identity {
            if present.isResuming {
                guard present.afterResuming.count < 100 else { throw .consumerBusy("\(start.consumer) is being taken back") }
                present.afterResuming.append { [unowned self] in self.retry(start) }
                return
            }
            guard !present.isReleased else {
                sessions.remove(present)
                return try claim(start, after: delivery.confirmed)
            }
            // Another filter: the same claim, a new session.
            sessions.remove(present)
            begin(start, after: delivery.confirmed, epoch: epoch, common: present.common)
        } else {
            guard !present.lease.keepsOthersOut(at: now) else {
                throw .consumerBusy("\(start.consumer) is being served over another connection")
            }
            sessions.remove(present)
            try claim(start, after: delivery.confirmed)
        }
    }

    private func tooManySessions(_ peer: Peer) -> FutoInError {
        .defenseRejected("\(peer.user) has \(configuration.limits.userSessions) sessions already")
    }

    private func retry(_ start: Start) {
        guard access.isCurrent(start.peer.caller) else { return }
        do {
            try readyToReceive(start)
        } catch {
            server?.answer(start.peer, start.rid, error)
        }
    }

    /// - Parameter confirmed: what an earlier session here knows to be answered, stored yet or not.
    private func claim(_ start: Start, after confirmed: EventID) throws(FutoInError) {
        claiming[start.consumer] = []
        do throws(FutoInError) {
            try inTurn(start.peer) { [unowned self] in self.claimNow(start, after: confirmed) }
        } catch {
            claiming[start.consumer] = nil
            throw error
        }
    }

    private func claimNow(_ start: Start, after confirmed: EventID) {
        store.claim(start.consumer) { [unowned self] result in
            self.turnEnded(start.peer)
            let waiting = self.claiming.removeValue(forKey: start.consumer) ?? []
            switch result {
            case .success(.claimed(let position, let epoch, _))
            where self.sessions.count(of: start.peer.account) >= self.configuration.limits.userSessions:
                // Others of its claims were under way at the same time.
                self.store.release(start.consumer, epoch: epoch, position: position)
                self.server?.answer(start.peer, start.rid, self.tooManySessions(start.peer))
            case .success(.claimed(let position, let epoch, let common)):
                if confirmed > position { self.store.note(start.consumer, epoch: epoch, position: confirmed) }
                self.begin(start, after: max(position, confirmed), epoch: epoch, common: common)
            case .success(.busy):
                self.server?.answer(start.peer, start.rid, .consumerBusy("\(start.consumer) is being served by another pusher"))
            case .success(.notRegistered):
                self.server?.answer(start.peer, start.rid, .notRegistered("\(start.consumer) is not registered"))
            case .failure(let error):
                self.server?.answer(start.peer, start.rid, .internalError("the session could not start: \(error.message)"))
            }
            for call in waiting { call() }
        }
    }

    private func begin(_ start: Start, after position: EventID, epoch: Int64, common: EventID) {
        let session = Session(
            consumer: start.consumer, peer: start.peer, want: start.want, precise: start.precise, start: position,
            common: common, lease: Lease(timeout: configuration.sessionTimeout, at: .now),
            kind: .reliable(ConsumerDelivery(after: position, configuration: configuration.delivery), epoch: epoch))
        sessions.insert(session)
        store.note(want: start.want, of: start.consumer, epoch: epoch)
        // From now on its figures are there, if only zero.
        _ = metrics(of: session.consumer)
        logger.info("session started", metadata: [.consumer: "\(session.consumer)", .position: "\(position)"])
        // The peer may be gone by now; then nobody is to be kept out.
        guard accept(start, after: position, common: common) != .unreachable else {
            return end(session, because: "its receiver is gone")
        }
        pump(session)
        keepTime()
    }

    @discardableResult
    private func accept(_ start: Start, after position: EventID, common: EventID) -> SendOutcome? {
        let origin = tail.identity.map { StreamOrigin(generation: $0.generation, after: position, common: common) }
        return server?.answer(start.peer, start.rid, start.asksOrigin ? origin?.json ?? .true : .true)
    }

    private func startLive(_ start: Start) {
        if let present = sessions.session(of: start.peer, start.component) { sessions.remove(present) }
        // What was committed before the call must not come: find out first what that is.
        tail.whenFresh { [unowned self] isFresh in
            guard isFresh else { return self.unavailable(start.peer, start.rid) }
            // Others of its calls were under way at the same time.
            guard self.sessions.count(of: start.peer.account) < self.configuration.limits.userSessions else {
                self.server?.answer(start.peer, start.rid, self.tooManySessions(start.peer))
                return
            }
            let position = self.tail.settled ?? .none
            let delivery = LiveDelivery(
                after: position,
                configuration: .init(
                    requestMax: self.configuration.delivery.requestMax, queueMax: self.configuration.queueMax,
                    ackTimeout: self.configuration.delivery.ackTimeout))
            let session = Session(
                consumer: start.consumer, peer: start.peer, want: start.want, precise: start.precise, start: position,
                common: position, lease: Lease(timeout: self.configuration.sessionTimeout, at: .now), kind: .live(delivery))
            guard self.accept(start, after: position, common: position) != .unreachable else { return }
            self.sessions.insert(session)
            self.keepTime()
        }
    }

    /// Ends a session: stores its position and lets any pusher serve the consumer.
    ///
    /// - Parameter completion: called once both are done, or cannot be done now.
    func end(_ session: Session, because reason: String, quietly: Bool = false, completion: @escaping () -> Void = {}) {
        guard !session.isOver else { return completion() }
        sessions.remove(session)
        guard case .reliable(let delivery, let epoch) = session.kind else { return completion() }
        store.release(session.consumer, epoch: epoch, position: delivery.confirmed, completion: completion)
        if !quietly {
            logger.info(
                "session ended",
                metadata: [.consumer: "\(session.consumer)", .position: "\(delivery.confirmed)", .reason: "\(reason)"])
        }
    }

    /// The connection closed: the session waits for its peer, but keeps nobody out any more, here or at another pusher.
    func disconnected(_ identity: [UInt8]) {
        for session in sessions.sessions(of: identity) {
            session.lease.disconnected()
            guard case .reliable(var delivery, let epoch) = session.kind else {
                sessions.remove(session)
                continue
            }
            delivery.connectionLost(at: .now)
            session.feed.clear()
            session.kind = .reliable(delivery, epoch: epoch)
            session.isReleased = true
            store.release(session.consumer, epoch: epoch, position: delivery.confirmed)
        }
    }

    /// Its user may do something else now, or nothing: he begins anew, if he may.
    func revoked(_ identity: [UInt8]) {
        for session in sessions.sessions(of: identity) { end(session, because: "the rights of its user have changed") }
    }

    /// A message came: every session of the peer lives on; one that was given up is taken back first.
    func heard(_ peer: Peer) {
        for session in sessions.sessions(of: peer.identity) {
            guard session.peer.caller.isSameUser(as: peer.caller) else {
                // A routing id that was free again, and that somebody else has chosen.
                end(session, because: "its routing id is another user's now")
                continue
            }
            sessions.heard(session, from: peer)
            session.lease.heard(at: .now)
            guard session.isReleased, !session.isResuming, case .reliable(_, let epoch) = session.kind else { continue }
            session.isResuming = true
            store.resume(session.consumer, epoch: epoch) { [unowned self] result in
                session.isResuming = false
                defer {
                    for call in session.afterResuming { call() }
                    session.afterResuming = []
                }
                guard !session.isOver else { return }
                switch result {
                case .success(true):
                    session.isReleased = false
                    self.store.note(want: session.want, of: session.consumer, epoch: epoch)
                    self.sendDue(session, at: .now)
                case .success(false): self.fenced(session.consumer, epoch: epoch)
                // The next message tries again.
                case .failure: break
                }
            }
        }
    }

    /// Another session, perhaps another pusher's, has taken the consumer over; or it was removed.
    func fenced(_ consumer: ConsumerIdentity, epoch: Int64) {
        // A newer session of our own is not meant.
        guard let session = sessions.reliable(consumer), case .reliable(_, epoch) = session.kind else { return }
        logger.warning("session lost: another pusher or an operator has the consumer", metadata: [.consumer: "\(consumer)"])
        sessions.remove(session)
    }

    func endAllSessions() {
        for session in sessions.all where !session.isLive { sessions.remove(session) }
    }
}
