import DequeModule
import EventStore
import EventStream
import Postgres

/// Calls from peers (protocol, section 4).
extension PusherEngine {
    func received(_ request: WireMessage.Request, from peer: Peer) {
        heard(peer)
        do {
            let call = try Call(request, offering: [.poll, .push, .ping])
            if case .ping(let echo) = call {
                server?.answer(peer, request.rid, .object("echo", echo))
                return
            }
            if isReady || held.isFull { return serve(call, rid: request.rid, from: peer) }
            held.hold({ [unowned self] in self.serve(call, rid: request.rid, from: peer) }, on: loop) { [weak self] in
                for call in self?.held.takeAll() ?? [] { call() }
            }
        } catch {
            server?.answer(peer, request.rid, error)
        }
    }

    private func serve(_ call: Call, rid: RequestID?, from peer: Peer) {
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
        case .pollEvents(let component, let after, let want, let precise):
            try poll(Poll(component: component, after: after, want: want, precise: precise, rid: rid, peer: peer))
        case .readyToReceive(let component, let want, let precise):
            try readyToReceive(.init(component: component, want: want, precise: precise, rid: rid, peer: peer))
        case .stopReceiving(let component):
            if let session = sessions.session(of: peer.identity, component) {
                end(session, because: "its receiver stopped")
            }
            server?.answer(peer, rid, .true)
        }
    }

    func requireReliable() throws(FutoInError) {
        guard configuration.allowReliable else { throw .securityError("reliable delivery is switched off here") }
    }

    private func register(_ component: ConsumerComponent, rid: RequestID?, peer: Peer) throws(FutoInError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers do not register") }
        try requireReliable()
        store.register(ConsumerIdentity(component: component)) { [unowned self] result in
            switch result {
            case .success: self.server?.answer(peer, rid, .true)
            case .failure(let error): self.server?.answer(peer, rid, .internalError("not registered: \(error.message)"))
            }
        }
    }

    // MARK: Polling

    struct Poll {
        let component: ConsumerComponent
        let after: EventID?
        let want: EventFilter
        let precise: Bool
        let rid: RequestID?
        let peer: Peer
        var consumer: ConsumerIdentity { ConsumerIdentity(component: component) }
    }

    private func poll(_ poll: Poll) throws(FutoInError) {
        guard configuration.allowPolling else { throw .securityError("polling is switched off here") }
        if !poll.component.isLive { try requireReliable() }
        guard tail.isConnected, window != nil else { throw .internalError("the database cannot be reached") }
        let others = polls[poll.peer.identity]?.count ?? 0
        guard pollCount < PusherEngine.pollLimit, others < PusherEngine.pollLimitOfPeer else {
            throw .internalError("too many polls are under way; wait for the answers")
        }
        pollCount += 1
        polls[poll.peer.identity, default: []].append(poll)
        // One of a peer's at a time: whoever asks much waits for its own answers, and not others with it.
        if others == 0 { begin(poll) }
    }

    private func begin(_ poll: Poll) {
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

    /// A position never goes past what is settled: nothing beyond can have been delivered.
    private func confirm(_ poll: Poll) {
        let settled = tail.settled ?? .none
        guard let last = poll.after, last > settled else { return confirm(poll, through: poll.after ?? .none) }
        store.newest(after: settled) { [unowned self] result in
            switch result {
            case .success(let newest) where newest.map { last <= $0 } ?? false: self.confirm(poll, through: settled)
            case .success:
                self.answer(poll, .failure(.invalidRequest("last_id \(last) is beyond the newest event")))
            case .failure(let error): self.fail(poll, error)
            }
        }
    }

    private func confirm(_ poll: Poll, through position: EventID) {
        store.confirm(poll.consumer, through: position) { [unowned self] result in
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
        // Nobody waits for the answer any more, perhaps.
        guard start < settled, server?.isConnected(poll.peer) ?? false else {
            return answer(poll, .success(RawJSON(unchecked: Array("[]".utf8))))
        }
        let limits = QueueReader.Limits(rows: configuration.maxChunkEvents, bytes: 4 << 20)
        store.read(after: start, through: settled, want: poll.want, limits: limits) { [unowned self] result in
            switch result {
            case .success(let rows):
                let group = EventGroup(
                    from: [rows.page()], after: start, want: poll.want, precise: poll.precise,
                    limits: GroupLimits(events: self.configuration.maxChunkEvents, bytes: 8 << 20 - 4096))
                guard group.count == 0 else { return self.answer(poll, .success(RawJSON(unchecked: group.list))) }
                // Unwanted events must not hold the discarder up, nor be looked at again.
                if poll.component.isLive {
                    self.pollMemo.foundNothing(after: after, through: group.through, want: poll.want)
                } else if group.through > start {
                    self.store.confirm(poll.consumer, through: group.through) { _ in }
                }
                // A type that is rare is looked for in steps: others wait behind each.
                self.look(for: poll, after: after, from: group.through, through: settled)
            case .failure(let error): self.fail(poll, error)
            }
        }
    }

    /// Each poll gets one answer; the peer's next one follows.
    private func answer(_ poll: Poll, _ outcome: Result<RawJSON, FutoInError>) {
        server?.answer(poll.peer, .init(outcome: outcome, rid: poll.rid))
        pollCount -= 1
        polls[poll.peer.identity]?.removeFirst()
        guard server?.isConnected(poll.peer) ?? false, let next = polls[poll.peer.identity]?.first else {
            pollCount -= polls.removeValue(forKey: poll.peer.identity)?.count ?? 0
            return
        }
        begin(next)
    }

    /// Polls under way: what they ask of the database waits in memory.
    private static let pollLimit = 1000
    private static let pollLimitOfPeer = 100

    func unavailable(_ peer: Peer, _ rid: RequestID?) {
        server?.answer(peer, rid, .internalError("the database cannot be reached"))
    }

    private func fail(_ poll: Poll, _ error: PostgresError) {
        answer(poll, .failure(.internalError("the events could not be read: \(error.message)")))
    }
}
