package import EventStream
package import LibZMQ
package import Logging
package import PosixLoop

/// Receives calls on a ROUTER socket and sends answers; tells when connections close.
package final class RequestServer: PeerPort {
    private let socket: Socket
    private let loop: EventLoop
    private let access: AccessControl
    private let interfaces: Set<Interface>
    private let sizeLimit: Int
    private let peers: PeerTable
    private let admission: Admission
    private let room: SendRoom
    private let backlog: BacklogWatch
    private var source: SocketSource?
    private var monitor: Monitor?
    package private(set) var endpoints: [String] = []

    package weak var handler: (any RequestHandler)? {
        get { admission.handler }
        set { admission.handler = newValue }
    }

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
        (self.loop, self.access, self.interfaces, self.sizeLimit) = (loop, access, interfaces, sizeLimit)
        peers = PeerTable(rate: limits.userRequests)
        admission = Admission(access, limits: limits, peers: peers, loop: loop, logger: logger)
        room = SendRoom(budget, userBytes: limits.userBytes, peers: peers, loop: loop, logger: logger)
        backlog = BacklogWatch(loop: loop, logger: logger)
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
        (admission.monitor, room.monitor) = (monitor, monitor)
        for endpoint in endpoints.list { self.endpoints.append(try socket.bind(endpoint, mode: endpoints.ipcMode)) }
        // From the start all are shown, with zero.
        for code in EventStreamError.Code.allCases where code.isOfServers { _ = Metric.rejected.counter(code.rawValue) }
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
        room.stop()
        admission.stop()
        backlog.stop()
        if let source { loop.remove(source) }
        if let monitor { loop.remove(monitor) }
        source = nil
        monitor = nil
    }

    private func connectionChanged(_ event: Monitor.Event) {
        switch event {
        case .connected(let connection):
            backlog.connected(connection)
            admission.connected(connection)
        case .disconnected(let connection):
            backlog.disconnected(connection)
            admission.disconnected(connection)
        case .ready, .handshakeFailed: break
        }
    }

    // MARK: What goes out

    /// Answers, in a word if there is no room for the whole: a peer that calls must also read.
    @discardableResult
    package func answer(_ peer: Peer, _ response: WireMessage.Response) -> SendOutcome {
        if case .failure(let error) = response.outcome { Metric.rejected.counter(error.name).add() }
        let error = EventStreamError.internalError("too much waits to be sent already; read the answers, then ask again")
        for response in [response, .init(outcome: .failure(error), rid: response.rid)] {
            let payload = response.encoded()
            if payload.count <= SendRoom.small || hasRoom(for: payload.count, to: peer) { return send(peer, payload) }
        }
        return .full
    }

    package func send(_ peer: Peer, _ payload: [UInt8]) -> SendOutcome {
        guard admission.isStillThere(peer) else { return .unreachable }
        return (try? socket.send(peer.frames(payload), gauges: room.gauges(of: payload.count, for: peer))) ?? .unreachable
    }

    package func hasRoom(for bytes: Int, to peer: Peer) -> Bool { room.has(bytes, for: peer) }

    /// Whether the peer's connection is there, as far as is known.
    package func isConnected(_ peer: Peer) -> Bool { peers.connection(of: peer.identity) != nil }

    package func isCurrent(_ caller: Caller) -> Bool { access.isCurrent(caller) }

    // MARK: What comes in

    private func received(_ message: Message) {
        guard let caller = admission.caller(of: message) else { return }
        let peer: Peer
        let payload: [UInt8]
        switch message.frames.count {
        case 2: (peer, payload) = (Peer(identity: message.frames[0], hasDelimiter: false, caller: caller), message.frames[1])
        case 3 where message.frames[1].isEmpty:
            (peer, payload) = (Peer(identity: message.frames[0], hasDelimiter: true, caller: caller), message.frames[2])
        default: return admission.dropped(caller)
        }
        guard !payload.isEmpty else { return admission.dropped(caller) }
        // libzmq takes longer ones than ZMTP has, and handles them whole again and again.
        guard peer.identity.count <= 255 else { return PeerConnection(message.connection).cut() }
        guard let isPresent = admission.heard(peer) else { return admission.dropped(caller) }
        do {
            switch try WireMessage(decoding: payload, sizeLimit: sizeLimit) {
            case .request(let request): received(request, from: peer)
            case .response(let response):
                if !isPresent || handler?.answered(response, by: peer) != true { admission.dropped(caller) }
            }
        } catch {
            admission.dropped(caller)
            answer(peer, error.rid, error.error)
        }
    }

    private func received(_ request: WireMessage.Request, from peer: Peer) {
        do throws(EventStreamError) {
            try admission.charge(peer)
            let call = try peer.caller.user.rights.permitted(Call(request, offering: interfaces))
            handler?.received(call, rid: request.rid, from: peer)
        } catch {
            answer(peer, request.rid, error)
        }
    }
}
