import EventLoop
import EventStream
import Logging
import ZeroMQ

/// A peer of a ROUTER socket, and how it frames its messages.
struct Peer: Hashable {
    let identity: [UInt8]
    /// Whether an empty frame precedes the payload, as REQ sockets send it; answers do the same.
    let hasDelimiter: Bool

    func frames(_ payload: [UInt8]) -> [[UInt8]] { hasDelimiter ? [identity, [], payload] : [identity, payload] }
}

/// Receives calls on a ROUTER socket and sends answers; tells when connections close.
final class RequestServer {
    private let socket: Socket
    private let loop: EventLoop
    private let sizeLimit: Int
    private let budget: SendBudget
    /// Bytes that wait to be sent, by peer and together.
    private let waiting = ByteGauge()
    private var waitingByPeer: [[UInt8]: ByteGauge] = [:]
    private var stuck = StuckConnections<PeerConnection>(looks: 11)
    private var pressureTimer: Timer?
    private let logger: Logger
    private var source: SocketSource?
    private var monitor: Monitor?
    private(set) var endpoints: [String] = []
    /// Messages that could not be read, or whose answers found no room.
    private(set) var dropped = 0
    /// Which peers were last heard over which connection.
    private var peersByConnection: [Int32: Set<[UInt8]>] = [:]
    private var connectionByPeer: [[UInt8]: Int32] = [:]

    var onRequest: (Peer, WireMessage.Request) -> Void = { _, _ in }
    var onResponse: (Peer, WireMessage.Response) -> Void = { _, _ in }
    /// The connection this peer was last heard over has closed.
    var onDisconnect: ([UInt8]) -> Void = { _ in }

    /// - Parameters:
    ///   - sizeLimit: bytes a request may have.
    ///   - sendLimit: messages that may wait for one peer; more are dropped.
    ///   - budget: bytes that may wait.
    init(
        binding endpoints: [String], context: Context, loop: EventLoop, sizeLimit: Int, name: String, sendLimit: Int32,
        budget: SendBudget, logger: Logger
    ) throws {
        self.loop = loop
        self.logger = logger
        self.sizeLimit = sizeLimit
        self.budget = budget
        socket = try Socket(
            .router, in: context,
            options: [
                .routerMandatory(true), .routerHandover(true), .sendHighWaterMark(sendLimit), .receiveHighWaterMark(100),
                .linger(.seconds(1)),
                .ipv6(endpoints.contains { $0.contains("[") }),
                // Larger requests are answered with an error up to here; past it the connection is closed.
                .maxMessageSize(Int64(max(16 << 20, sizeLimit * 2))),
                .heartbeat(interval: .seconds(5), timeout: .seconds(15)), .handshakeTimeout(.seconds(10)),
            ])
        monitor = try Monitor(socket, name: name) { [unowned self] in self.connectionChanged($0) }
        for endpoint in endpoints { self.endpoints.append(try socket.bind(endpoint)) }
    }

    func start() {
        guard let monitor, source == nil else { return }
        let source = SocketSource(socket) { [unowned self] in self.received($0) }
        self.source = source
        loop.add(monitor)
        loop.add(source)
    }

    /// Takes no more messages; what has been sent still goes out.
    func stop() {
        pressureTimer?.cancel()
        if let source { loop.remove(source) }
        if let monitor { loop.remove(monitor) }
        source = nil
        monitor = nil
    }

    /// Answers, in a word if there is no room for the whole: a peer that calls must also read.
    @discardableResult
    func answer(_ peer: Peer, _ response: WireMessage.Response) -> SendOutcome {
        let error = FutoInError.internalError("too much waits to be sent already; read the answers, then ask again")
        for response in [response, .init(outcome: .failure(error), rid: response.rid)] {
            let payload = response.encoded()
            if payload.count <= RequestServer.small || hasRoom(for: payload.count, to: peer) { return send(peer, payload) }
        }
        dropped += 1
        return .full
    }

    /// Bytes of an answer that always goes: the high-water mark bounds their number.
    private static let small = 512

    /// Whether so many bytes may be sent to the peer now.
    func hasRoom(for bytes: Int, to peer: Peer) -> Bool {
        if budget.allows(bytes, waiting: waitingByPeer[peer.identity]?.bytes ?? 0, total: waiting.bytes) { return true }
        cutStuckPeersSoon()
        return false
    }

    /// Whether the peer's connection is there, as far as is known.
    func isConnected(_ peer: Peer) -> Bool { connectionByPeer[peer.identity] != nil }

    /// While there is too little room, peers that take nothing at all for a second lose their connections and with them
    /// what waits; they may come back.
    private func cutStuckPeersSoon() {
        guard pressureTimer == nil else { return }
        pressureTimer = loop.schedule(after: .milliseconds(100)) { [weak self] in
            guard let self else { return }
            self.pressureTimer = nil
            guard self.waiting.bytes > self.budget.limit / 2 else { return self.stuck.forget() }
            self.monitor?.dispatch()
            var unsent: [PeerConnection: Int] = [:]
            for (connection, peers) in self.peersByConnection {
                guard peers.contains(where: { (self.waitingByPeer[$0]?.bytes ?? 0) > 0 }) else { continue }
                unsent[PeerConnection(connection)] = PeerConnection(connection).unsentBytes
            }
            for connection in self.stuck.look(unsent) {
                self.logger.notice("a peer that takes nothing was disconnected: others had no room any more")
                connection.cut()
            }
            self.cutStuckPeersSoon()
        }
    }

    @discardableResult
    func answer(_ peer: Peer, _ rid: RequestID?, _ result: RawJSON) -> SendOutcome {
        answer(peer, .init(outcome: .success(result), rid: rid))
    }

    @discardableResult
    func answer(_ peer: Peer, _ rid: RequestID?, _ error: FutoInError) -> SendOutcome {
        answer(peer, .init(outcome: .failure(error), rid: rid))
    }

    func send(_ peer: Peer, _ payload: [UInt8]) -> SendOutcome {
        let isCounted = payload.count > RequestServer.small
        return
            (try? socket.send(
                peer.frames(payload), gauge: isCounted ? waiting : nil, part: waitingByPeer[peer.identity])) ?? .unreachable
    }

    private func received(_ message: Message) {
        let peer: Peer
        let payload: [UInt8]
        switch message.frames.count {
        case 2: (peer, payload) = (Peer(identity: message.frames[0], hasDelimiter: false), message.frames[1])
        case 3 where message.frames[1].isEmpty:
            (peer, payload) = (Peer(identity: message.frames[0], hasDelimiter: true), message.frames[2])
        default:
            dropped += 1
            return
        }
        guard !payload.isEmpty else {
            dropped += 1
            return
        }
        note(peer.identity, heardOver: message.connection)
        do {
            switch try WireMessage(decoding: payload, sizeLimit: sizeLimit) {
            case .request(let request): onRequest(peer, request)
            case .response(let response): onResponse(peer, response)
            }
        } catch {
            dropped += 1
            answer(peer, error.rid, error.error)
        }
    }

    private func note(_ identity: [UInt8], heardOver connection: Int32) {
        guard connection >= 0, connectionByPeer[identity] != connection else { return }
        // Descriptors are used again: first hear of every connection that ended before this message was sent.
        monitor?.dispatch()
        if let old = connectionByPeer.updateValue(connection, forKey: identity) {
            peersByConnection[old]?.remove(identity)
        }
        peersByConnection[connection, default: []].insert(identity)
        if waitingByPeer[identity] == nil { waitingByPeer[identity] = ByteGauge() }
    }

    private func connectionChanged(_ event: Monitor.Event) {
        guard case .disconnected(let connection) = event,
            let peers = peersByConnection.removeValue(forKey: connection)
        else { return }
        for identity in peers where connectionByPeer[identity] == connection {
            connectionByPeer[identity] = nil
            waitingByPeer[identity] = nil
            onDisconnect(identity)
        }
    }
}
