import EventStream
import EventStreamDatabase
import EventStreamServer

/// What comes from peers: each to whoever serves it (protocol, section 4).
final class CallRouter: RequestHandler {
    struct Configuration {
        /// Whether consumers may register and be served reliably.
        var allowReliable: Bool
        /// Whether pollEvents may be called.
        var allowPolling: Bool
    }

    private let configuration: Configuration
    private let loop: any LoopPort
    private let peers: any PeerPort
    private let services: PusherServices
    /// Calls that came while the database was away for a moment, or not reached yet.
    private var held = DatabaseWait()

    init(_ configuration: Configuration, _ services: PusherServices) {
        (self.configuration, self.services) = (configuration, services)
        (loop, peers) = (services.ports.loop, services.ports.peers)
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

    func heard(_ peer: Peer) { services.sessions.heard(peer) }
    func disconnected(_ identity: [UInt8]) { services.sessions.disconnected(identity) }
    func revoked(_ identity: [UInt8]) { services.sessions.revoked(identity) }

    func answered(_ response: WireMessage.Response, by peer: Peer) -> Bool {
        guard response.rid?.contents.first == UInt8(ascii: "S"), let rid = response.rid?.number else { return false }
        let own = services.table.sessions(of: peer.identity).filter { $0.peer.caller.isSameUser(as: peer.caller) }
        return own.map { session in
            switch session {
            case let session as ReliableSession: services.deliveries.answered(session, rid, response.outcome)
            case let session as LiveSession: services.live.answered(session, rid)
            default: false
            }
        }.contains(true)
    }

    // MARK: Calls

    func received(_ call: Call, rid: RequestID?, from peer: Peer) {
        if case .ping(let echo) = call {
            peers.answer(peer, rid, .object("echo", echo))
            return
        }
        if services.isReady || !held.hasRoom(for: peer.account) { return serve(call, rid: rid, from: peer) }
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
        case .registerConsumer(let component, let start, let slices):
            if !component.isLive { try requireReliable() }
            try services.registrations.register(component, start: start, slices: slices, rid: rid, peer: peer)
        case .pollEvents(let component, let after, let want, let fields, let generation):
            guard configuration.allowPolling else { throw .securityError("polling is switched off here") }
            if !component.isLive { try requireReliable() }
            try check(want, of: peer)
            try services.polls.poll(
                PollMachine(component, after: after, generation: generation), want: want, fields: fields, rid: rid, peer: peer)
        case .readyToReceive(let component, let want, let fields, let origin, let partial, let park):
            try check(want, of: peer)
            try readyToReceive(
                .init(
                    component, want: want, fields: fields, isPartial: partial, mayPark: park, peer: peer, rid: rid,
                    asksOrigin: origin))
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

    /// A stream without wide types has no such types to want. What a key file says of types is for any stream.
    private func check(_ want: EventFilter, of peer: Peer) throws(EventStreamError) {
        guard want.isNarrow || services.membership.heartbeat.takesWideTypes ?? true || !peer.caller.user.rights.types.isNarrow
        else {
            throw .invalidRequest("want has a type that the stream does not take: 1 to 16 of A-Z and _, or a prefix of it")
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
