import EventStream

/// A receiver being served.
final class SimulatedSession {
    let consumer: Int
    let peer: Int
    let types: [Bool]
    let want: EventFilter
    var lease: Lease
    var delivery: ConsumerDelivery
    let epoch: Int64
    var feed = ConsumerFeed()
    var rereading: [UInt64] = []
    var isOver = false
    var isReleased = false
    var isResuming = false
    var afterResuming: [() -> Void] = []
    /// Pages of history that are still in memory.
    var pages: [Page] = []

    struct Page { weak var page: EventPage? }

    init(_ link: SimulatedLink, lease: Lease, delivery: ConsumerDelivery, epoch: Int64) {
        consumer = link.consumer
        peer = link.peer
        types = link.types
        self.lease = lease
        self.delivery = delivery
        self.epoch = epoch
        let wanted = zip(SimulatedEvent.types, link.types).filter(\.1).map(\.0)
        let isAll = wanted.count == SimulatedEvent.types.count
        want = isAll ? .all : EventFilter(Set(wanted)) ?? .all
    }

    /// What a read of history asks for.
    var typesToRead: [Bool]? { want.types == nil ? nil : types }
}

/// How sessions begin and end.
extension SimulatedPusher {
    struct Start {
        let link: SimulatedLink
        let rid: Int
        var consumer: Int { link.consumer }
    }

    func session(of consumer: Int) -> SimulatedSession? { sessions.first { $0.consumer == consumer } }

    private func remove(_ session: SimulatedSession) {
        session.isOver = true
        sessions.removeAll { $0 === session }
    }

    func readyToReceive(_ start: Start) {
        guard tail.isConnected, window != nil else {
            answer(start.link, start.rid, .failed)
            return
        }
        if let index = claiming.firstIndex(where: { $0.consumer == start.consumer }) {
            claiming[index].waiting.append { [unowned self] in self.readyToReceive(start) }
            return
        }
        guard let present = session(of: start.consumer) else { return claim(start) }
        guard present.peer == start.link.peer else {
            guard !present.lease.keepsOthersOut(at: surroundings.now) else {
                answer(start.link, start.rid, .busy)
                return
            }
            return claim(start)
        }
        guard !present.isResuming else {
            present.afterResuming.append { [unowned self] in self.readyToReceive(start) }
            return
        }
        guard !present.isReleased else { return claim(start) }
        answer(start.link, start.rid, .done)
        pump(present)
    }

    private func claim(_ start: Start) {
        claiming.append((start.consumer, []))
        var known: PositionBook.Entry?
        if let present = session(of: start.consumer) {
            let consumer = SimulatedDatabase.identity(of: start.consumer)
            known = .init(consumer: consumer, epoch: present.epoch, position: present.delivery.confirmed)
            remove(present)
        }
        store.claim(start.consumer, knowing: known) { [unowned self] claim in
            let index = self.claiming.firstIndex { $0.consumer == start.consumer }
            let waiting = index.map { self.claiming.remove(at: $0).waiting } ?? []
            switch claim {
            case .claimed(let stored, let epoch):
                self.begin(start, after: EventID(stored), epoch: epoch)
            case .busy: self.answer(start.link, start.rid, .busy)
            case .notRegistered, nil: self.answer(start.link, start.rid, .failed)
            }
            for call in waiting { call() }
        }
    }

    private func begin(_ start: Start, after position: EventID, epoch: Int64) {
        let session = SimulatedSession(
            start.link, lease: Lease(timeout: configuration.sessionTimeout, at: surroundings.now),
            delivery: ConsumerDelivery(after: position, configuration: configuration.delivery), epoch: epoch)
        if self.session(of: start.consumer) != nil { surroundings.broken("two sessions of one consumer at pusher \(run)") }
        sessions.append(session)
        surroundings.note("pusher \(run): a session of consumer \(start.consumer) begins at \(position), epoch \(epoch)")
        guard answer(start.link, start.rid, .done) != .unreachable else { return end(session) }
        pump(session)
        keepTime()
    }

    /// Ends a session: stores its position and lets any pusher serve the consumer.
    func end(_ session: SimulatedSession) {
        guard !session.isOver else { return }
        remove(session)
        store.release(session.consumer, epoch: session.epoch, position: session.delivery.confirmed)
    }

    /// The connection closed: the session waits for its peer, but keeps nobody out any more.
    func disconnected(_ peer: Int) {
        for session in sessions where session.peer == peer {
            session.lease.disconnected()
            session.delivery.connectionLost(at: surroundings.now)
            session.isReleased = true
            store.release(session.consumer, epoch: session.epoch, position: session.delivery.confirmed)
        }
    }

    /// A message came: the peer's session lives on; one that was given up is taken back first.
    func heard(_ peer: Int) {
        for session in sessions where session.peer == peer {
            session.lease.heard(at: surroundings.now)
            guard session.isReleased, !session.isResuming else { continue }
            session.isResuming = true
            store.resume(session.consumer, epoch: session.epoch) { [unowned self] isResumed in
                session.isResuming = false
                defer {
                    for call in session.afterResuming { call() }
                    session.afterResuming = []
                }
                guard !session.isOver else { return }
                switch isResumed {
                case true:
                    session.isReleased = false
                    self.surroundings.note("pusher \(self.run): a session of consumer \(session.consumer) is taken back")
                    self.sendDue(session, at: self.surroundings.now)
                case false: self.fenced(session.consumer, epoch: session.epoch)
                case nil: break
                }
            }
        }
    }

    func fenced(_ consumer: Int, epoch: Int64) {
        guard let session = session(of: consumer), session.epoch == epoch else { return }
        surroundings.note("pusher \(run): the session of consumer \(consumer) is fenced")
        remove(session)
    }

    func endAllSessions() {
        for session in sessions {
            surroundings.note("pusher \(run): the session of consumer \(session.consumer) may be another's")
            remove(session)
        }
    }
}
