import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

/// Calls from peers: each to whoever serves it (protocol, section 4).
final class CallRouter {
    struct Configuration {
        /// Whether consumers may register and be served reliably.
        var allowReliable: Bool
        /// Whether pollEvents may be called.
        var allowPolling: Bool
        /// Registered consumers of one user.
        var userConsumers: Int
    }

    /// Who serves what.
    struct Services {
        let head: HeadDriver
        let membership: Membership
        let table: SessionTable
        let sessions: SessionDriver
        let deliveries: DeliveryDriver
        let claims: ClaimDriver
        let live: LiveDriver
        let polls: PollDriver
        let lag: LagCalls
        let archive: ArchiveCalls
        let turns: CallTurns
    }

    private let configuration: Configuration
    private let loop: any LoopPort
    private let peers: any PeerPort
    private let services: Services
    /// Calls that came while the database was away for a moment, or not reached yet.
    private var held = HeldCalls()

    init(_ configuration: Configuration, loop: any LoopPort, peers: any PeerPort, _ services: Services) {
        self.configuration = configuration
        self.loop = loop
        self.peers = peers
        self.services = services
        services.claims.retry = { [weak self] in self?.retry($0) }
    }

    /// Nobody gets an answer any more.
    func stop() {
        _ = held.takeAll()
        services.turns.stop()
        services.claims.stop()
        services.archive.stop()
    }

    /// The database can be reached.
    func ready() { for call in held.takeAll() { call() } }

    /// Whether calls that need the database can be served.
    var isReady: Bool { services.head.isConnected && services.head.settled != nil && services.membership.isReady }

    func received(_ call: Call, rid: RequestID?, from peer: Peer) {
        if case .ping(let echo) = call {
            peers.answer(peer, rid, .object("echo", echo))
            return
        }
        if isReady || !held.hasRoom(for: peer.account) { return serve(call, rid: rid, from: peer) }
        held.hold({ self.serve(call, rid: rid, from: peer) }, of: peer.account, on: loop) { [weak self] in self?.ready() }
    }

    private func serve(_ call: Call, rid: RequestID?, from peer: Peer) {
        // It may have waited since it was permitted.
        guard peers.isCurrent(peer.caller) else { return }
        do {
            try handle(call, rid: rid, from: peer)
        } catch {
            peers.answer(peer, rid, error)
        }
    }

    private func handle(_ call: Call, rid: RequestID?, from peer: Peer) throws(EventStreamError) {
        switch call {
        case .ping, .addEvent: throw .notImplemented("not served here")
        case .registerConsumer(let component): try register(component, rid: rid, peer: peer)
        case .pollEvents(let component, let after, let want, let precise, let generation):
            guard configuration.allowPolling else { throw .securityError("polling is switched off here") }
            if !component.isLive { try requireReliable() }
            try services.polls.poll(
                PollMachine(component, after: after, generation: generation), want: want, precise: precise, rid: rid, peer: peer)
        case .readyToReceive(let component, let want, let precise, let origin):
            try readyToReceive(.init(component, want: want, precise: precise, peer: peer, rid: rid, asksOrigin: origin))
        case .stopReceiving(let component):
            let answer = { _ = self.peers.answer(peer, rid, .true) }
            services.claims.withdraw(component, of: peer)
            guard let session = services.table.session(of: peer, component) else { return answer() }
            services.sessions.end(session, because: "its receiver stopped", completion: answer)
        case .lag(let component): try services.lag.lag(of: component, rid: rid, peer: peer)
        case .archive(let component, let known, let token):
            if !component.isLive { try requireReliable() }
            try services.archive.archive(component, known: known, token: token, rid: rid, peer: peer)
        }
    }

    private func requireReliable() throws(EventStreamError) {
        guard configuration.allowReliable else { throw .securityError("reliable delivery is switched off here") }
    }

    // MARK: Registering

    private func register(_ component: ConsumerComponent, rid: RequestID?, peer: Peer) throws(EventStreamError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers do not register") }
        try requireReliable()
        let (turns, limit) = (services.turns, configuration.userConsumers)
        try turns.inTurn(peer) {
            guard self.peers.isCurrent(peer.caller) else { return turns.ended(peer) }
            guard let port = self.services.membership.consumers else {
                self.peers.answer(peer, rid, .internalError("not registered: the database cannot be reached"))
                return turns.ended(peer)
            }
            let consumer = ConsumerIdentity(user: peer.user, component: component)
            port.register(consumer, want: peer.caller.user.rights.types, limit: limit) { result in
                switch result {
                case .success(true): self.peers.answer(peer, rid, .true)
                case .success(false):
                    self.peers.answer(
                        peer, rid,
                        .defenseRejected("not registered: \(peer.user) has \(limit) consumers; remove those not needed any more"))
                case .failure(let error): self.peers.answer(peer, rid, .internalError("not registered: \(error.message)"))
                }
                turns.ended(peer)
            }
        }
    }

    // MARK: Sessions

    private func readyToReceive(_ start: SessionStart) throws(EventStreamError) {
        // A session that goes on needs no database for that.
        if let present = services.claims.goesOn(start) {
            services.sessions.accept(start, after: present.start, common: present.common)
            if let session = present as? ReliableSession { services.deliveries.pump(session) }
            return
        }
        guard services.head.isConnected, services.head.settled != nil else { throw .unavailable }
        guard
            services.table.count(of: start.peer.account) < services.claims.userLimit
                || services.table.session(of: start.peer, start.component) != nil
        else { throw services.claims.tooManySessions(start.peer) }
        guard !start.component.isLive else {
            return try services.turns.inTurn(start.peer) { self.services.live.start(start) }
        }
        try requireReliable()
        try services.claims.readyToReceive(start)
    }

    /// Somebody has waited for another's claim, or for the consumer to be taken back.
    private func retry(_ start: SessionStart) {
        guard peers.isCurrent(start.peer.caller) else { return }
        do {
            try readyToReceive(start)
        } catch {
            services.claims.refuse(start, error)
        }
    }
}
