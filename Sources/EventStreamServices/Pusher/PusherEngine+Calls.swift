import EventLoop
import EventStore
import EventStream
import Postgres

/// Calls from peers (protocol, section 4).
extension PusherEngine {
    func received(_ call: Call, rid: RequestID?, from peer: Peer) {
        if case .ping(let echo) = call {
            server?.answer(peer, rid, .object("echo", echo))
            return
        }
        if isReady || !held.hasRoom(for: peer.account) { return serve(call, rid: rid, from: peer) }
        held.hold({ [unowned self] in self.serve(call, rid: rid, from: peer) }, of: peer.account, on: loop) { [weak self] in
            for call in self?.held.takeAll() ?? [] { call() }
        }
    }

    private func serve(_ call: Call, rid: RequestID?, from peer: Peer) {
        // It may have waited since it was permitted.
        guard access.isCurrent(peer.caller) else { return }
        do {
            try handle(call, rid: rid, from: peer)
        } catch {
            server?.answer(peer, rid, error)
        }
    }

    private func handle(_ call: Call, rid: RequestID?, from peer: Peer) throws(FutoInError) {
        switch call {
        case .ping, .addEvent: throw .notImplemented("not served here")
        case .registerConsumer(let component): try register(component, rid: rid, peer: peer)
        case .pollEvents(let component, let after, let want, let precise, let generation):
            let asked = Poll(
                component: component, after: after, want: want, precise: precise, generation: generation, rid: rid, peer: peer)
            if let over = isOver(asked) { throw over }
            try poll(asked)
        case .readyToReceive(let component, let want, let precise, let origin):
            try readyToReceive(.init(component, want: want, precise: precise, peer: peer, rid: rid, asksOrigin: origin))
        case .stopReceiving(let component):
            let answer = { [unowned self] in _ = self.server?.answer(peer, rid, .true) }
            withdraw(component, of: peer)
            guard let session = sessions.session(of: peer, component) else { return answer() }
            end(session, because: "its receiver stopped", completion: answer)
        case .lag(let component): try lag(of: component, rid: rid, peer: peer)
        case .archive(let component, let known, let token):
            try archive(component, known: known, token: token, rid: rid, peer: peer)
        }
    }

    func requireReliable() throws(FutoInError) {
        guard configuration.allowReliable else { throw .securityError("reliable delivery is switched off here") }
    }

    private func register(_ component: ConsumerComponent, rid: RequestID?, peer: Peer) throws(FutoInError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers do not register") }
        try requireReliable()
        try inTurn(peer) { [unowned self] in
            guard self.access.isCurrent(peer.caller) else { return self.turnEnded(peer) }
            let want = peer.caller.user.rights.types
            self.store.register(ConsumerIdentity(user: peer.user, component: component), want: want) { [unowned self] result in
                switch result {
                case .success(true): self.server?.answer(peer, rid, .true)
                case .success(false):
                    let limit = self.configuration.limits.userConsumers
                    self.server?.answer(
                        peer, rid,
                        .defenseRejected("not registered: \(peer.user) has \(limit) consumers; remove those not needed any more"))
                case .failure(let error): self.server?.answer(peer, rid, .internalError("not registered: \(error.message)"))
                }
                self.turnEnded(peer)
            }
        }
    }

    private func lag(of component: ConsumerComponent, rid: RequestID?, peer: Peer) throws(FutoInError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers have no position") }
        let consumer = ConsumerIdentity(user: peer.user, component: component)
        // They all wait for the same figures, and must not hold up anything else.
        guard lagCalls[peer.account, default: 0] < PusherEngine.mostLagCalls else {
            throw .defenseRejected("too many of these calls are under way; wait for the answers")
        }
        lagCalls[peer.account, default: 0] += 1
        figures.refresh { [unowned self] in
            if self.answerLag(of: consumer, rid: rid, peer: peer) { return }
            // It may have been registered since.
            self.figures.renew { [unowned self] in
                guard !self.answerLag(of: consumer, rid: rid, peer: peer) else { return }
                self.lagAnswered(peer, rid, .failure(.notRegistered("\(consumer) is not registered")))
            }
        }
    }

    /// - Returns: false if the figures do not have it.
    private func answerLag(of consumer: ConsumerIdentity, rid: RequestID?, peer: Peer) -> Bool {
        guard let status = figures.status else {
            lagAnswered(peer, rid, .failure(.internalError("the database cannot be reached")))
            return true
        }
        guard let found = status.consumers.first(where: { $0.consumer == consumer.description }) else { return false }
        let types = peer.caller.user.rights.types
        // Types the user may not see are not to be counted for him; a session or a poll notes what he wants.
        guard found.want.intersection(types) == found.want else {
            lagAnswered(
                peer, rid,
                .failure(
                    .unauthorized("\(consumer) has wanted event types this user may not see: begin a session or poll, then ask")))
            return true
        }
        lagAnswered(peer, rid, .success(ConsumerLag(events: found.lag.events, seconds: found.lag.seconds).json))
        return true
    }

    private func lagAnswered(_ peer: Peer, _ rid: RequestID?, _ outcome: Result<RawJSON, FutoInError>) {
        let left = lagCalls[peer.account, default: 1] - 1
        lagCalls[peer.account] = left > 0 ? left : nil
        // Whose rights have changed meanwhile has begun anew.
        if access.isCurrent(peer.caller) { server?.answer(peer, .init(outcome: outcome, rid: rid)) }
    }

    /// Of a user a few calls at a time are worked on, of a connection without keys one: others do not wait for them all.
    func inTurn(_ peer: Peer, _ work: @escaping () -> Void) throws(FutoInError) {
        let isUser = if case .user = peer.account { true } else { false }
        switch turns.add(work, of: peer.account, atOnce: isUser ? 4 : 1) {
        case .begins: work()
        case .waits: break
        case .refused: throw .defenseRejected("too many calls are under way; wait for the answers")
        }
    }

    func turnEnded(_ peer: Peer) {
        // Not at once: answers that need nothing of the database would pile up on the stack. Once this has stopped nobody waits.
        guard let next = turns.ended(of: peer.account) else { return }
        loop.execute { [box = Unchecked((self, next))] in if !box.value.0.isStopped { box.value.1() } }
    }

    // MARK: Polling

    struct Poll {
        let component: ConsumerComponent
        let after: EventID?
        let want: EventFilter
        let precise: Bool
        let generation: String?
        let rid: RequestID?
        let peer: Peer
        var consumer: ConsumerIdentity { ConsumerIdentity(user: peer.user, component: component) }
    }

    private func poll(_ poll: Poll) throws(FutoInError) {
        guard configuration.allowPolling else { throw .securityError("polling is switched off here") }
        if !poll.component.isLive { try requireReliable() }
        guard tail.isConnected, window != nil else { throw .internalError("the database cannot be reached") }
        try inTurn(poll.peer) { [unowned self] in self.begin(poll) }
    }

    private func begin(_ poll: Poll) {
        // Nobody waits for the answer any more, perhaps.
        guard server?.isConnected(poll.peer) ?? false else { return turnEnded(poll.peer) }
        // Answers must show what was committed before the call.
        tail.whenFresh { [unowned self] isFresh in
            guard isFresh else { return self.answer(poll, .failure(.internalError("the database cannot be reached"))) }
            if poll.component.isLive {
                self.answer(poll, after: poll.after ?? .none)
            } else {
                self.confirm(poll)
            }
        }
    }

    /// What a poll says to be of a generation is of no other; the stream may have begun anew while it waited.
    private func isOver(_ poll: Poll) -> FutoInError? {
        guard let generation = poll.generation, let present = tail.identity?.generation.generation, generation != present
        else { return nil }
        return .invalidRequest("the generation \(generation) of the stream is over: the present one is \(present)")
    }

    /// A position never goes past what is settled: nothing beyond can have been delivered.
    private func confirm(_ poll: Poll) {
        let settled = tail.settled ?? .none
        // What may be of an earlier generation is not beyond anything.
        guard let last = poll.after, last > settled, last > tail.identity?.generation.start ?? .none else {
            return confirm(poll, through: min(settled, confirmed(by: poll)))
        }
        store.newest(after: settled) { [unowned self] result in
            switch result {
            case .success(let newest) where newest.map { last <= $0 } ?? false:
                self.confirm(poll, through: min(settled, self.confirmed(by: poll)))
            case .success:
                self.answer(poll, .failure(.invalidRequest("last_id \(last) is beyond the newest event")))
            case .failure(let error): self.fail(poll, error)
            }
        }
    }

    /// What a poller has of an earlier generation of the stream confirms nothing: its ids may be those of other events here.
    private func confirmed(by poll: Poll) -> EventID {
        guard let last = poll.after else { return .none }
        if poll.generation != nil { return last }
        let isOfThisOne =
            last > (tail.identity?.generation.start ?? .none) || polledOut[poll.consumer].map { last <= $0 } ?? false
        return isOfThisOne ? last : .none
    }

    private func confirm(_ poll: Poll, through position: EventID) {
        if let over = isOver(poll) { return answer(poll, .failure(over)) }
        store.confirm(poll.consumer, through: position, want: poll.want) { [unowned self] result in
            switch result {
            case .success(let stored?): self.answer(poll, after: stored)
            case .success(nil):
                self.answer(poll, .failure(.notRegistered("\(poll.consumer) is not registered")))
            case .failure(let error): self.fail(poll, error)
            }
        }
    }

    private func answer(_ poll: Poll, after: EventID) {
        let start = poll.component.isLive ? pollMemo.start(after: after, want: poll.want) : after
        look(for: poll, after: after, from: start, through: tail.settled ?? .none)
    }

    /// - Parameters:
    ///   - after: where the poll asked to begin.
    ///   - start: nothing it wants lies between there and here.
    ///   - settled: where the stream was settled when it asked; a flood of unwanted events must not keep it waiting.
    private func look(for poll: Poll, after: EventID, from start: EventID, through settled: EventID) {
        if let over = isOver(poll) { return answer(poll, .failure(over)) }
        // Nobody waits for the answer any more, perhaps.
        guard start < settled, server?.isConnected(poll.peer) ?? false else {
            return answer(poll, .success(RawJSON(unchecked: Array("[]".utf8))))
        }
        let limits = QueueReader.Limits(rows: configuration.maxChunkEvents, bytes: 4 << 20)
        store.read(after: start, through: settled, want: poll.want, limits: limits) { [unowned self] result in
            if let over = self.isOver(poll) { return self.answer(poll, .failure(over)) }
            switch result {
            case .success(let rows):
                let group = EventGroup(
                    from: [rows.page()], after: start, want: poll.want, precise: poll.precise,
                    limits: GroupLimits(events: self.configuration.maxChunkEvents, bytes: 8 << 20 - 4096))
                guard group.count == 0 else {
                    if let last = group.last, last <= self.tail.identity?.generation.start ?? .none, !poll.component.isLive {
                        self.polledOut[poll.consumer] = max(last, self.polledOut[poll.consumer] ?? .none)
                    }
                    return self.answer(poll, .success(RawJSON(unchecked: group.list)))
                }
                // Unwanted events must not hold the discarder up, nor be looked at again.
                if poll.component.isLive {
                    self.pollMemo.foundNothing(after: after, through: group.through, want: poll.want)
                } else if group.through > start {
                    self.store.confirm(poll.consumer, through: group.through, want: poll.want) { _ in }
                }
                // A type that is rare is looked for in steps: others wait behind each.
                self.look(for: poll, after: after, from: group.through, through: settled)
            case .failure(let error): self.fail(poll, error)
            }
        }
    }

    /// Each poll gets one answer; the next one follows.
    private func answer(_ poll: Poll, _ outcome: Result<RawJSON, FutoInError>) {
        server?.answer(poll.peer, .init(outcome: outcome, rid: poll.rid))
        turnEnded(poll.peer)
    }

    func unavailable(_ peer: Peer, _ rid: RequestID?) {
        server?.answer(peer, rid, .internalError("the database cannot be reached"))
    }

    private func fail(_ poll: Poll, _ error: PostgresError) {
        answer(poll, .failure(.internalError("the events could not be read: \(error.message)")))
    }
}
