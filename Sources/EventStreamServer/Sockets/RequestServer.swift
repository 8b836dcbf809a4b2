package import EventStream
package import LibZMQ
package import Logging
package import PosixLoop

/// Receives calls on a ROUTER socket and sends answers; tells when connections close.
package final class RequestServer: PeerPort {
    private let socket: Socket
    private let loop: EventLoop
    private let sizeLimit: Int
    private let interfaces: Set<Interface>
    private let access: AccessControl
    private let limits: PeerLimits
    private let budget: SendBudget
    private var peers: PeerTable
    private var connections: Connections
    /// What comes of peers that are gone already, all together.
    private var departed: RateMeter
    /// Bytes that wait to be sent, to all of them.
    private let waiting = ByteGauge()
    private let backlog: BacklogWatch
    private var stuck = StuckConnections<PeerConnection>(looks: 11)
    private var pressureTimer: Timer?
    private var sweepTimer: Timer?
    private var unheard: [Int32: UInt64] = [:]
    private var mustSweepAgain = false
    private let logger: Logger
    private var peerLog = PeerLog()
    private var reserve: DescriptorReserve
    private var source: SocketSource?
    private var monitor: Monitor?
    package private(set) var endpoints: [String] = []
    /// Messages that could not be read, or whose answers found no room.
    package private(set) var dropped = 0
    /// Calls answered with an error, by its name: one of those this side makes.
    private var rejected: [String: CounterMetric] = [:]

    /// A peer has sent something, whatever it is.
    package var onHeard: (Peer) -> Void = { _ in }
    /// A call the peer may make, with what it is allowed of it.
    package var onCall: (Peer, Call, RequestID?) -> Void = { _, _, _ in }
    /// Returns whether such an answer was waited for.
    package var onResponse: (Peer, WireMessage.Response) -> Bool = { _, _ in false }
    /// The connection this peer was last heard over has closed.
    package var onDisconnect: ([UInt8]) -> Void = { _ in }
    /// The peer may not do any more what it might, or may do more: its sessions are over.
    package var onRevoke: ([UInt8]) -> Void = { _ in }

    /// - Parameters:
    ///   - interfaces: what may be called.
    ///   - sizeLimit: bytes a request may have.
    ///   - sendLimit: messages that may wait for one peer; more are dropped.
    ///   - budget: bytes that may wait.
    package init(
        _ domain: AccessControl.Domain, binding endpoints: Endpoints, offering interfaces: Set<Interface>, access: AccessControl,
        limits: PeerLimits, context: Context, loop: EventLoop, sizeLimit: Int, sendLimit: Int32, budget: SendBudget,
        logger: Logger
    ) throws {
        self.loop = loop
        self.logger = logger
        self.sizeLimit = sizeLimit
        self.access = access
        self.interfaces = interfaces
        self.limits = limits
        self.budget = budget
        peers = PeerTable(rate: limits.userRequests)
        connections = Connections(limit: limits.connections)
        backlog = BacklogWatch(loop: loop, logger: logger)
        for code in EventStreamError.Code.allCases where code.isOfServers {
            rejected[code.rawValue] = Metric.rejected.counter(code.rawValue)
        }
        departed = RateMeter(rate: limits.userRequests / 10, at: .now)
        reserve = DescriptorReserve(logger: logger)
        socket = try Socket(
            .router, in: context,
            options: [
                // A routing id stays with the connection that has it: nobody takes another's place. What is received is bounded
                // by ``InboundBacklog``.
                .routerMandatory(true), .routerHandover(false), .sendHighWaterMark(sendLimit),
                .receiveHighWaterMark(0),
                .linger(.seconds(1)), .ipv6(endpoints.list.contains { $0.contains("[") }),
                // Larger requests are answered with an error up to here; past it the connection is closed.
                .maxMessageSize(Int64(max(16 << 20, sizeLimit * 2))),
                .heartbeat(interval: .seconds(5), timeout: .seconds(15)), .heartbeatTimeToLive(.seconds(15)),
                .handshakeTimeout(.seconds(5)),
            ] + access.options(for: domain))
        monitor = try Monitor(socket, name: domain.rawValue) { [weak self] in self?.connectionChanged($0) }
        for endpoint in endpoints.list { self.endpoints.append(try socket.bind(endpoint, mode: endpoints.ipcMode)) }
        access.onChange.append { [weak self] in self?.rightsChanged() }
        access.beforeAdmission.append { [weak self] in
            guard let self else { return true }
            self.monitor?.dispatch()
            return !self.socket.events().readable
        }
    }

    package func start() {
        guard let monitor, source == nil else { return }
        let source = SocketSource(socket) { [weak self] message in
            guard let self else { return }
            self.backlog.took(message.wireSize(isKeyed: self.access.isKeyed), from: message.connection)
            self.received(message)
        } drained: { [weak self] in
            self?.backlog.drained()
        }
        self.source = source
        loop.add(monitor)
        loop.add(source)
    }

    /// Takes no more messages; what has been sent still goes out.
    package func stop() {
        pressureTimer?.cancel()
        sweepTimer?.cancel()
        backlog.stop()
        if let source { loop.remove(source) }
        if let monitor { loop.remove(monitor) }
        source = nil
        monitor = nil
    }

    /// Answers, in a word if there is no room for the whole: a peer that calls must also read.
    @discardableResult
    package func answer(_ peer: Peer, _ response: WireMessage.Response) -> SendOutcome {
        if case .failure(let error) = response.outcome { count(error) }
        let error = EventStreamError.internalError("too much waits to be sent already; read the answers, then ask again")
        for response in [response, .init(outcome: .failure(error), rid: response.rid)] {
            let payload = response.encoded()
            if payload.count <= RequestServer.small || hasRoom(for: payload.count, to: peer) { return send(peer, payload) }
        }
        dropped += 1
        return .full
    }

    private func count(_ error: EventStreamError) {
        let counter = rejected[error.name] ?? Metric.rejected.counter(error.name)
        rejected[error.name] = counter
        counter.add()
    }

    /// Bytes of an answer that always goes: the high-water mark bounds their number.
    private static let small = 512

    /// Whether so many bytes may be sent to the peer now.
    package func hasRoom(for bytes: Int, to peer: Peer) -> Bool {
        let others = peers.waiting(for: peer.account)
        if others == 0 || others + bytes <= limits.userBytes,
            budget.allows(bytes, waiting: peers.waiting(for: peer), total: waiting.bytes)
        {
            return true
        }
        cutStuckPeersSoon()
        return false
    }

    /// Whether the peer's connection is there, as far as is known.
    package func isConnected(_ peer: Peer) -> Bool { peers.connection(of: peer.identity) != nil }

    package func isCurrent(_ caller: Caller) -> Bool { access.isCurrent(caller) }

    /// While there is too little room, peers that take nothing at all for a second lose their connections and with them
    /// what waits; they may come back.
    private func cutStuckPeersSoon() {
        guard pressureTimer == nil else { return }
        pressureTimer = loop.schedule(after: .milliseconds(100)) { [weak self] in
            guard let self else { return }
            self.pressureTimer = nil
            let isShort =
                self.waiting.bytes > self.budget.limit / 2 || self.peers.hasMuchWaiting(self.limits.userBytes / 2)
            guard isShort else { return self.stuck.forget() }
            self.monitor?.dispatch()
            var unsent: [PeerConnection: Int] = [:]
            for connection in self.peers.behind.map({ PeerConnection($0) }) { unsent[connection] = connection.unsentBytes }
            for connection in self.stuck.look(unsent) {
                let caller = self.peers.caller(on: connection.descriptor)
                if let line = self.peerLog.line("takes nothing", of: caller.map { .account($0.account) } ?? .unknown) {
                    self.logger.notice(
                        "a peer that takes nothing was disconnected: others had no room any more",
                        metadata: line.metadata([.user: "\(caller?.user.name ?? "?")"]))
                }
                connection.cut()
            }
            self.cutStuckPeersSoon()
        }
    }

    package func send(_ peer: Peer, _ payload: [UInt8]) -> SendOutcome {
        guard isStillThere(peer) else { return .unreachable }
        let gauges = payload.count > RequestServer.small ? peers.gauges(of: peer) + [waiting] : []
        return (try? socket.send(peer.frames(payload), gauges: gauges)) ?? .unreachable
    }

    /// Whether the answer reaches the user who asked: its routing id may have become another's.
    private func isStillThere(_ peer: Peer) -> Bool {
        monitor?.dispatch()
        return peers.isStillThere(peer)
    }

    // MARK: What comes in

    private func received(_ message: Message) {
        guard let caller = caller(of: message) else {
            dropped += 1
            return
        }
        let peer: Peer
        let payload: [UInt8]
        switch message.frames.count {
        case 2: (peer, payload) = (Peer(identity: message.frames[0], hasDelimiter: false, caller: caller), message.frames[1])
        case 3 where message.frames[1].isEmpty:
            (peer, payload) = (Peer(identity: message.frames[0], hasDelimiter: true, caller: caller), message.frames[2])
        default: return drop(of: caller)
        }
        guard !payload.isEmpty else { return drop(of: caller) }
        // libzmq takes longer ones than ZMTP has, and handles them whole again and again.
        guard peer.identity.count <= 255 else { return PeerConnection(message.connection).cut() }
        guard peers.verdict(on: caller) != .ignored else { return drop(of: caller) }
        let isPresent = note(peer)
        if isPresent {
            onHeard(peer)
        } else if departed.charge(at: .now) != .allowed {
            // Who has gone since may still have asked for something; of a flood there is too much.
            return drop(of: caller)
        }
        do {
            switch try WireMessage(decoding: payload, sizeLimit: sizeLimit) {
            case .request(let request): received(request, from: peer)
            case .response(let response): if !isPresent || !onResponse(peer, response) { drop(of: caller) }
            }
        } catch {
            drop(of: caller)
            answer(peer, error.rid, error.error)
        }
    }

    private func received(_ request: WireMessage.Request, from peer: Peer) {
        do throws(EventStreamError) {
            guard peers.charge(peer.caller) == .allowed else {
                throw .defenseRejected("more than \(limits.userRequests) requests a second; slow down")
            }
            guard !peer.caller.isExcess else {
                cutSoon(peer.caller)
                throw .defenseRejected("\(peer.user) has more than \(limits.userConnections) connections")
            }
            onCall(peer, try peer.caller.user.rights.permitted(Call(request, offering: interfaces)), request.rid)
        } catch {
            answer(peer, request.rid, error)
        }
    }

    /// After the answer, which says why.
    private func cutSoon(_ caller: Caller) {
        loop.schedule(after: .milliseconds(100)) { [weak self] in
            guard let self else { return }
            self.monitor?.dispatch()
            if self.connections.isPresent(caller.connection, caller.id) { PeerConnection(caller.connection).cut() }
        }
    }

    /// What is of no use counts like a request.
    private func drop(of caller: Caller) {
        dropped += 1
        peers.charge(caller)
        if caller.isExcess, connections.isPresent(caller.connection, caller.id) { PeerConnection(caller.connection).cut() }
    }

    /// Who has sent it; nil if he may not send anything any more.
    private func caller(of message: Message) -> Caller? {
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
        if isPresent {
            peers.arrived(caller)
            caller.isExcess = access.isKeyed && peers.connections(of: caller.account) > limits.userConnections
            if !caller.isExcess { connections.heard(message.connection) }
            if caller.isExcess, let line = peerLog.line("too many connections of a user", of: caller.account) {
                logger.warning(
                    "a user has too many connections: those that come are cut",
                    metadata: line.metadata([.user: "\(caller.user.name)", .limit: "\(limits.userConnections)"]))
            }
        }
        return caller
    }

    /// - Returns: whether the peer is still there.
    private func note(_ peer: Peer) -> Bool {
        let (connection, id) = (peer.caller.connection, peer.caller.id)
        guard connections.isPresent(connection, id) else { return false }
        guard peers.connection(of: peer.identity) != connection else { return true }
        monitor?.dispatch()
        guard connections.isPresent(connection, id) else { return false }
        peers.heard(peer)
        return true
    }

    private func connectionChanged(_ event: Monitor.Event) {
        switch event {
        case .connected(let connection):
            reserve.protect(from: connection)
            backlog.connected(connection)
            guard let excess = connections.connected(connection, after: access.admitted) else { return }
            PeerConnection(excess).cut()
            guard let line = peerLog.line("too many connections", of: .unknown) else { return }
            logger.warning(
                "connection limit reached; closing the oldest silent connection",
                metadata: line.metadata([.limit: "\(limits.connections)"]))
        case .disconnected(let connection):
            let mayHaveBeenReady = connections.disconnected(connection, after: access.admitted)
            let identities = peers.left(connection)
            for identity in identities { onDisconnect(identity) }
            backlog.disconnected(connection)
            if mayHaveBeenReady || identities.contains(where: { !RequestServer.isAutomatic($0) }) { cutUnheardPeers() }
        case .ready, .handshakeFailed: break
        }
    }

    /// As libzmq makes routing ids for those who choose none.
    private static func isAutomatic(_ identity: [UInt8]) -> Bool { identity.count == 5 && identity[0] == 0 }

    /// A routing id is free. Who wanted it meanwhile was ignored, and libzmq ignores him for ever (`router.cpp`, "Ignore peers
    /// with duplicate ID"): he is among those not heard of, so they have to connect again. Those who are merely slow have a while to say
    /// something.
    private func cutUnheardPeers() {
        unheard.merge(connections.unheard) { $1 }
        mustSweepAgain = true
        if sweepTimer == nil { sweepLater() }
    }

    private func sweepLater() {
        sweepTimer = loop.schedule(after: .seconds(2)) { [weak self] in
            guard let self else { return }
            self.sweepTimer = nil
            self.monitor?.dispatch()
            let present = self.connections.unheard
            for (connection, number) in self.unheard where present[connection] == number { PeerConnection(connection).cut() }
            // libzmq tells of the end of a connection before it forgets its routing id: who came in between was ignored, too.
            self.unheard = self.mustSweepAgain ? present.filter { self.unheard[$0.key] != $0.value } : [:]
            self.mustSweepAgain = false
            if !self.unheard.isEmpty { self.sweepLater() }
        }
    }

    /// Whoever may do something else than before begins anew, if he may at all.
    private func rightsChanged() {
        // Those who have said nothing may be anybody; they come again.
        for connection in connections.unheard.keys { PeerConnection(connection).cut() }
        for caller in Array(peers.all) where !access.isCurrent(caller) {
            PeerConnection(caller.connection).cut()
            for identity in peers.left(caller.connection) { onRevoke(identity) }
            cutUnheardPeers()
            if let line = peerLog.line("rights have changed", of: caller.account) {
                logger.info(
                    "a user's rights have changed: its connection was closed",
                    metadata: line.metadata([.user: "\(caller.user.name)"]))
            }
        }
    }
}
