import EventLoop
import EventStore
import EventStream
import Logging
import Postgres
import ZeroMQ

/// Sessions: how they begin and end (protocol, section 5).
extension PusherEngine {
    /// A session somebody asks for: in one call, or in several of which the last counts.
    struct Start {
        struct Call {
            let rid: RequestID?
            let asksOrigin: Bool
        }

        let component: ConsumerComponent
        let want: EventFilter
        let precise: Bool
        let peer: Peer
        fileprivate(set) var calls: [Call]
        var consumer: ConsumerIdentity { ConsumerIdentity(user: peer.user, component: component) }

        init(_ component: ConsumerComponent, want: EventFilter, precise: Bool, peer: Peer, rid: RequestID?, asksOrigin: Bool) {
            self.component = component
            self.want = want
            self.precise = precise
            self.peer = peer
            calls = [Call(rid: rid, asksOrigin: asksOrigin)]
        }

        /// One that stands for both: a session that would have been replaced before it brought anything needs none.
        fileprivate static func merge(_ earlier: Start, _ later: Start) -> Start? {
            guard earlier.peer.caller === later.peer.caller, earlier.peer.identity == later.peer.identity,
                earlier.calls.count < ClaimQueue<ConsumerIdentity, Start>.waitingLimit
            else { return nil }
            var start = later
            start.calls = earlier.calls + later.calls
            return start
        }
    }

    func readyToReceive(_ start: Start) throws(FutoInError) {
        // A session that goes on needs no database for that.
        if let present = sessions.session(of: start.peer, start.component), !present.isReleased,
            present.want == start.want, present.precise == start.precise, !claims.isUnderWay(start.consumer)
        {
            accept(start, after: present.start, common: present.common)
            return pump(present)
        }
        guard tail.isConnected, window != nil else { throw .internalError("the database cannot be reached") }
        guard
            sessions.count(of: start.peer.account) < configuration.limits.userSessions
                || sessions.session(of: start.peer, start.component) != nil
        else { throw tooManySessions(start.peer) }
        guard !start.component.isLive else {
            return try inTurn(start.peer) { [unowned self] in self.startLive(start) }
        }
        try requireReliable()
        if let present = sessions.reliable(start.consumer), !claims.isUnderWay(start.consumer) {
            guard mayReplace(present, start) else { throw busyHere(start) }
            if present.isResuming {
                guard present.afterResuming.count < 100 else { throw .consumerBusy("\(start.consumer) is being taken back") }
                present.afterResuming.append { [unowned self] in self.retry(start) }
                return
            }
        }
        switch claims.add(start, of: start.consumer, at: .now, replacing: Start.merge) {
        case .begins(let pause): try claim(start, after: pause)
        // Looked at again after the claim that is under way.
        case .waits: break
        case .refused: throw .defenseRejected("too many calls for \(start.consumer) are under way; wait for the answers")
        }
    }

    /// Its own peer may, and another once the lease keeps nobody out any more.
    private func mayReplace(_ present: Session, _ start: Start) -> Bool {
        present.peer.identity == start.peer.identity || !present.lease.keepsOthersOut(at: .now)
    }

    private func busyHere(_ start: Start) -> FutoInError {
        .consumerBusy("\(start.consumer) is being served over another connection")
    }

    func tooManySessions(_ peer: Peer) -> FutoInError {
        .defenseRejected("\(peer.user) has \(configuration.limits.userSessions) sessions already")
    }

    private func retry(_ start: Start) {
        guard access.isCurrent(start.peer.caller) else { return }
        do {
            try readyToReceive(start)
        } catch {
            refuse(start, error)
        }
    }

    func refuse(_ start: Start, _ error: FutoInError) {
        for call in start.calls { server?.answer(start.peer, call.rid, error) }
    }

    // MARK: Claims

    private func claim(_ start: Start, after pause: Duration) throws(FutoInError) {
        guard pause == .zero else {
            loop.schedule(after: pause) { [weak self] in
                guard let self, !self.isStopped else { return }
                do throws(FutoInError) {
                    try self.claim(start, after: .zero)
                } catch {
                    self.refuse(start, error)
                }
            }
            return
        }
        do throws(FutoInError) {
            try inTurn(start.peer) { [unowned self] in self.claimNow(start) }
        } catch {
            claimEnded(start.consumer)
            throw error
        }
    }

    private func claimEnded(_ consumer: ConsumerIdentity) { for start in claims.ended(consumer) { retry(start) } }

    /// The peer stops before its session has begun.
    func withdraw(_ component: ConsumerComponent, of peer: Peer) {
        let consumer = ConsumerIdentity(user: peer.user, component: component)
        for start in claims.withdraw(consumer, { $0.peer.identity == peer.identity && $0.peer.caller === peer.caller }) {
            end(start)
        }
    }

    /// Its session has begun and ended.
    private func end(_ start: Start) { for call in start.calls { server?.answer(start.peer, call.rid, .true) } }

    private func claimNow(_ start: Start) {
        // Nobody waits for the answer any more, perhaps.
        guard server?.isConnected(start.peer) ?? false, !claims.isWithdrawn(start.consumer) else {
            turnEnded(start.peer)
            end(start)
            return claimEnded(start.consumer)
        }
        guard store.usableWork != nil else {
            return claimed(start, .failure(PostgresError(.connectionLost, "the database cannot be reached")))
        }
        // What the session before knows to be answered, stored yet or not.
        var known: PositionBook.Entry?
        if let present = sessions.reliable(start.consumer), case .reliable(let delivery, let epoch) = present.kind {
            // Its peer may have been heard of again meanwhile.
            guard mayReplace(present, start) else {
                turnEnded(start.peer)
                refuse(start, busyHere(start))
                return claimEnded(start.consumer)
            }
            known = .init(consumer: start.consumer, epoch: epoch, position: delivery.confirmed)
            sessions.remove(present)
        }
        store.claim(start.consumer, want: start.want, knowing: known) { [unowned self] in self.claimed(start, $0) }
    }

    private func claimed(_ start: Start, _ result: Result<ConsumerStore.Claim, PostgresError>) {
        turnEnded(start.peer)
        switch result {
        case .success(.claimed(let position, let epoch, _)) where claims.isWithdrawn(start.consumer):
            store.release(start.consumer, epoch: epoch, position: position)
            end(start)
        case .success(.claimed(let position, let epoch, _))
        where sessions.count(of: start.peer.account) >= configuration.limits.userSessions:
            // Others of its claims were under way at the same time.
            store.release(start.consumer, epoch: epoch, position: position)
            refuse(start, tooManySessions(start.peer))
        case .success(.claimed(let position, let epoch, let common)):
            begin(start, after: position, epoch: epoch, common: common)
        case .success(.busy): refuse(start, .consumerBusy("\(start.consumer) is being served by another pusher"))
        case .success(.notRegistered): refuse(start, .notRegistered("\(start.consumer) is not registered"))
        case .failure(let error): refuse(start, .internalError("the session could not start: \(error.message)"))
        }
        claimEnded(start.consumer)
    }

    private func begin(_ start: Start, after position: EventID, epoch: Int64, common: EventID) {
        let session = Session(
            consumer: start.consumer, peer: start.peer, want: start.want, precise: start.precise, start: position,
            common: common, lease: Lease(timeout: configuration.sessionTimeout, at: .now),
            kind: .reliable(ConsumerDelivery(after: position, configuration: configuration.delivery), epoch: epoch))
        sessions.insert(session)
        // From now on its figures are there, if only zero.
        _ = metrics(of: session.consumer)
        if let line = sessionLog.line("session started", of: start.peer.account) {
            logger.info(
                "session started", metadata: line.metadata([.consumer: "\(session.consumer)", .position: "\(position)"]))
        }
        // The peer may be gone by now; then nobody is to be kept out.
        guard accept(start, after: position, common: common) != .unreachable else {
            return end(session, because: "its receiver is gone")
        }
        pump(session)
        keepTime()
    }

    @discardableResult
    func accept(_ start: Start, after position: EventID, common: EventID) -> SendOutcome? {
        let origin = tail.identity.map { StreamOrigin(generation: $0.generation, after: position, common: common) }
        var outcome: SendOutcome?
        for call in start.calls {
            outcome = server?.answer(start.peer, call.rid, call.asksOrigin ? origin?.json ?? .true : .true)
        }
        return outcome
    }

    /// Ends a session: stores its position and lets any pusher serve the consumer.
    ///
    /// - Parameter completion: called once both are done, or cannot be done now.
    func end(_ session: Session, because reason: String, quietly: Bool = false, completion: @escaping () -> Void = {}) {
        guard !session.isOver else { return completion() }
        sessions.remove(session)
        guard case .reliable(let delivery, let epoch) = session.kind else { return completion() }
        store.release(session.consumer, epoch: epoch, position: delivery.confirmed, completion: completion)
        guard !quietly, let line = sessionLog.line("session ended", of: session.peer.account) else { return }
        logger.info(
            "session ended",
            metadata: line.metadata([
                .consumer: "\(session.consumer)", .position: "\(delivery.confirmed)", .reason: "\(reason)",
            ]))
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
