import EventStream
import LibZMQ
import Logging
import PosixLoop

/// Who is at the other end of a server's connections, and how long each may stay.
final class Admission {
    private let access: AccessControl
    private let limits: PeerLimits
    private let loop: EventLoop
    private let logger: Logger
    private let peers: PeerTable
    private var connections: Connections
    private var reserve: DescriptorReserve
    /// What comes of peers that are gone already, all together.
    private var departed: RateMeter
    private lazy var sweep = UnheardSweep(loop) { [weak self] in
        self?.monitor?.dispatch()
        return self?.connections.unheard ?? [:]
    }
    private var peerLog = PeerLog()
    weak var monitor: Monitor?
    weak var handler: (any RequestHandler)?

    init(_ access: AccessControl, limits: PeerLimits, peers: PeerTable, loop: EventLoop, logger: Logger) {
        (self.access, self.limits, self.peers, self.loop, self.logger) = (access, limits, peers, loop, logger)
        connections = Connections(limit: limits.connections)
        reserve = DescriptorReserve(logger: logger)
        departed = RateMeter(rate: limits.userRequests / 10, at: .now)
        access.onChange.append { [weak self] in self?.rightsChanged() }
    }

    func stop() { sweep.stop() }

    // MARK: Messages

    /// Who has sent a message; nil if the sender may not send anything any more.
    func caller(of message: Message) -> Caller? {
        if let known = peers.caller(on: message.connection, named: message.user) { return known }
        // Descriptors are used again: first hear of every connection that ended before this message was sent.
        monitor?.dispatch()
        guard let id = message.user.flatMap({ PeerID($0) }) else { return nil }
        let isPresent = connections.isPresent(message.connection, id)
        guard let user = access.user(withID: id) else {
            if isPresent { PeerConnection(message.connection).cut() }
            return nil
        }
        let caller = Caller(user: user, connection: message.connection, id: id)
        if isPresent { arrived(caller) }
        return caller
    }

    private func arrived(_ caller: Caller) {
        peers.arrived(caller)
        caller.isExcess = access.isKeyed && peers.connections(of: caller.account) > limits.userConnections
        guard caller.isExcess else { return connections.heard(caller.connection) }
        guard let line = peerLog.line("too many connections of a user", of: caller.account) else { return }
        logger.warning(
            "a user has too many connections: those that come are cut",
            metadata: line.metadata([.user: "\(caller.user.name)", .limit: "\(limits.userConnections)"]))
    }

    /// A message came that can be read.
    ///
    /// - Returns: whether the peer is still there; nil if its messages are ignored.
    func heard(_ peer: Peer) -> Bool? {
        guard peers.verdict(on: peer.caller) != .ignored else { return nil }
        if isPresent(peer) {
            handler?.heard(peer)
            return true
        }
        // Who has gone since may still have asked for something; of a flood there is too much.
        return departed.charge(at: .now) == .allowed ? false : nil
    }

    private func isPresent(_ peer: Peer) -> Bool {
        let caller = peer.caller
        guard isPresent(caller) else { return false }
        guard peers.connection(of: peer.identity) != caller.connection else { return true }
        monitor?.dispatch()
        guard isPresent(caller) else { return false }
        peers.heard(peer)
        return true
    }

    private func isPresent(_ caller: Caller) -> Bool { connections.isPresent(caller.connection, caller.id) }

    /// Counts a request.
    func charge(_ peer: Peer) throws(EventStreamError) {
        guard peers.charge(peer.caller) == .allowed else {
            throw .defenseRejected("more than \(limits.userRequests) requests a second; slow down")
        }
        guard peer.caller.isExcess else { return }
        cutSoon(peer.caller)
        throw .defenseRejected("\(peer.user) has more than \(limits.userConnections) connections")
    }

    /// After the answer, which says why.
    private func cutSoon(_ caller: Caller) {
        loop.schedule(after: .milliseconds(100)) { [weak self] in
            guard let self else { return }
            self.monitor?.dispatch()
            if self.isPresent(caller) { PeerConnection(caller.connection).cut() }
        }
    }

    /// What is of no use counts like a request.
    func dropped(_ caller: Caller) {
        peers.charge(caller)
        if caller.isExcess, isPresent(caller) { PeerConnection(caller.connection).cut() }
    }

    /// Whether an answer reaches the user who asked: its routing id may have become another's.
    func isStillThere(_ peer: Peer) -> Bool {
        monitor?.dispatch()
        return peers.isStillThere(peer)
    }

    // MARK: Connections

    func connected(_ connection: Int32) {
        reserve.protect(from: connection)
        guard let excess = connections.connected(connection, after: access.admitted) else { return }
        PeerConnection(excess).cut()
        guard let line = peerLog.line("too many connections", of: .unknown) else { return }
        logger.warning(
            "connection limit reached; closing the oldest silent connection",
            metadata: line.metadata([.limit: "\(limits.connections)"]))
    }

    func disconnected(_ connection: Int32) {
        let mayHaveBeenReady = connections.disconnected(connection, after: access.admitted)
        let identities = peers.left(connection)
        for identity in identities { handler?.disconnected(identity) }
        guard mayHaveBeenReady || identities.contains(where: { !Admission.isAutomatic($0) }) else { return }
        sweep.begin(with: connections.unheard)
    }

    /// As libzmq makes routing ids for those who choose none.
    private static func isAutomatic(_ identity: [UInt8]) -> Bool { identity.count == 5 && identity[0] == 0 }

    /// Whoever may do something else than before begins anew, if it may connect at all.
    private func rightsChanged() {
        // Those who have said nothing may be anybody; they come again.
        for connection in connections.unheard.keys { PeerConnection(connection).cut() }
        for caller in Array(peers.all) where !access.isCurrent(caller) {
            PeerConnection(caller.connection).cut()
            for identity in peers.left(caller.connection) { handler?.revoked(identity) }
            sweep.begin(with: connections.unheard)
            guard let line = peerLog.line("rights have changed", of: caller.account) else { continue }
            logger.info(
                "a user's rights have changed: its connection was closed",
                metadata: line.metadata([.user: "\(caller.user.name)"]))
        }
    }
}
