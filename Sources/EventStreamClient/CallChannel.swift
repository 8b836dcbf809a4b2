import EventStream
package import LibZMQ
import PosixLoop

/// One connection to a server: calls with their answers, and the server's calls to us.
///
/// Belongs to the loop's thread. When the connection is lost every call under way fails and a new connection, to the
/// next endpoint, is begun; nothing is sent twice.
final class CallChannel {
    private struct Pending {
        let completion: (Result<RawJSON, EventStreamError>) -> Void
        let timer: Timer
        /// Bytes of the request.
        let size: Int
        var isSent: Bool
    }

    private let loop: EventLoop
    private let context: Context
    private let endpoints: [String]
    private let keys: ClientKeys?
    private let timeout: Duration
    private var endpointIndex = 0
    private var socket: Socket?
    private var source: SocketSource?
    private var monitor: Monitor?
    private var pending: [UInt64: Pending] = [:]
    private var outgoing: [(rid: UInt64?, payload: [UInt8])] = []
    private var lastRid: UInt64 = 0
    private(set) var isConnected = false
    private var isClosed = false
    /// The handshake has failed since there was a connection last.
    private var isRefused = false
    private var connectedAt: MonotonicTime?
    /// Connections lost before they were of use, since one was.
    private var fruitless = 0
    private var retryTimer: Timer?
    private var connectTimer: Timer?

    /// The pusher calls us with events.
    var onEvents: (OnEvents) -> Void = { _ in }
    /// The server calls us in some other way.
    var onRequest: (WireMessage.Request) -> Void = { _ in }
    var onConnect: () -> Void = {}
    /// The connection was lost; a new one is being made.
    var onDisconnect: () -> Void = {}

    /// - Parameters:
    ///   - endpoints: where the server is, one or several alternatives; not empty.
    ///   - keys: nil for a server without keys.
    ///   - timeout: a server not heard of for two thirds of it is given up.
    init(_ endpoints: [String], keys: ClientKeys?, timeout: Duration = standardSessionTimeout, loop: EventLoop) {
        self.keys = keys
        self.timeout = timeout
        self.endpoints = endpoints.isEmpty ? [""] : endpoints
        self.loop = loop
        context = Context()
    }

    /// Where the present connection goes.
    var endpoint: String { endpoints[endpointIndex % endpoints.count] }

    /// Why there is no connection, as far as can be told.
    var absence: String {
        guard isRefused else { return "nobody answers at \(endpoint)" }
        return keys == nil
            ? "\(endpoint) does not speak with peers without keys: set EVT_CURVE_KEY and EVT_SERVER_KEY"
            : "\(endpoint) refuses: is EVT_SERVER_KEY its public key, and is ours among its authorized keys, with the right to this?"
    }

    /// Connects, in the background.
    func open() throws(EventStreamError) {
        do {
            try connect()
        } catch {
            throw .internalError("there is no socket to be had: \(error)")
        }
    }

    private func connect() throws(ZeroMQError) {
        let socket = try Socket(
            .dealer, in: context,
            options: [
                // What may wait is bounded by the server's window; libzmq's own limit is a danger (``InboundBacklog``).
                .immediate(true), .receiveHighWaterMark(0), .linger(.milliseconds(200)),
                .reconnect(first: .milliseconds(50), longest: .seconds(1)),
                .heartbeat(interval: timeout / 5, timeout: timeout * 2 / 3), .maxMessageSize(32 << 20), .ipv6(true),
            ] + (keys?.options ?? []))
        let monitor = try Monitor(socket, name: "channel-\(UInt64.random(in: 0...UInt64.max))") { [weak self] event in
            // After a loss the same turn may bring what libzmq has done since; it counts no more.
            guard let self, self.socket != nil else { return }
            switch event {
            case .ready: self.connected()
            case .disconnected: self.reset(because: self.isConnected ? "the connection to the server was lost" : self.absence)
            // One that refuses does so at once; one that is frozen lets the time of the handshake pass.
            case .handshakeFailed: self.isRefused = self.connectedAt.map { .now - $0 < .seconds(3) } ?? true
            case .connected: self.connectedAt = .now
            }
        }
        let source = SocketSource(socket) { [weak self] in self?.received($0) }
        try socket.connect(endpoint)
        self.socket = socket
        self.monitor = monitor
        self.source = source
        loop.add(monitor)
        loop.add(source)
        guard endpoints.count > 1 else { return }
        // Nobody there, or somebody who does not shake hands: another may be. Calls that wait for a connection wait on.
        connectTimer = loop.schedule(after: .seconds(1)) { [weak self] in
            guard let self, !self.isConnected else { return }
            self.closeSocket()
            self.endpointIndex += 1
            self.openLater()
        }
    }

    /// Closes for good; calls under way fail, and later ones at once.
    func close() {
        isClosed = true
        closeSocket()
        outgoing.removeAll()
        failAll("the client was closed")
    }

    private func closeSocket() {
        retryTimer?.cancel()
        retryTimer = nil
        connectTimer?.cancel()
        connectTimer = nil
        if let source { loop.remove(source) }
        if let monitor { loop.remove(monitor) }
        source = nil
        monitor = nil
        socket = nil
        isConnected = false
    }

    /// Gives the connection up and begins a new one, to the next endpoint.
    func reset(because reason: String) {
        guard socket != nil else { return }
        if !isConnected { fruitless += 1 }
        closeSocket()
        endpointIndex += 1
        failAll(reason)
        outgoing.removeAll()
        openLater()
        onDisconnect()
    }

    /// Opens after a pause, and tries again until it succeeds.
    func openLater() {
        // A server that refuses us does so the next time, too, as a rule.
        retryTimer = loop.schedule(after: min(.milliseconds(50) * (1 << min(fruitless, 5)), .seconds(1))) { [weak self] in
            guard let self, !self.isClosed else { return }
            // Out of descriptors, perhaps; that may pass.
            do { try self.open() } catch { self.openLater() }
        }
    }

    private func failAll(_ reason: String) {
        let failed = pending
        pending = [:]
        for (_, call) in failed.sorted(by: { $0.key < $1.key }) {
            call.timer.cancel()
            let known = call.isSent ? "it is not known whether the call was carried out" : "the call was not sent"
            call.completion(.failure(.communicationError("\(reason); \(known)")))
        }
    }

    // MARK: Calls

    func call(
        _ call: Call, timeout: Duration, completion: @escaping (Result<RawJSON, EventStreamError>) -> Void
    ) {
        guard !isClosed else {
            return completion(.failure(.communicationError("the client was closed; the call was not sent")))
        }
        lastRid += 1
        let rid = lastRid
        let payload = call.request(rid: .client(rid)).encoded()
        let timer = loop.schedule(after: timeout) { [weak self] in
            guard let self else { return }
            guard let late = self.pending.removeValue(forKey: rid) else { return }
            self.outgoing.removeAll { $0.rid == rid }
            let known = late.isSent ? "it is not known whether the call was carried out" : self.absence
            late.completion(.failure(.timeout("no answer within \(timeout); \(known)")))
        }
        pending[rid] = Pending(completion: completion, timer: timer, size: payload.count, isSent: false)
        outgoing.append((rid, payload))
        flush()
    }

    /// Answers a call of the server's.
    func answer(_ rid: RequestID?, _ outcome: Result<RawJSON, EventStreamError>) {
        guard isConnected else { return }
        outgoing.append((nil, WireMessage.Response(outcome: outcome, rid: rid).encoded()))
        flush()
    }

    private func flush() {
        guard isConnected, let socket else { return }
        var sent = 0
        for message in outgoing {
            guard let outcome = try? socket.send([message.payload]), outcome == .sent else { break }
            if let rid = message.rid { pending[rid]?.isSent = true }
            sent += 1
        }
        outgoing.removeFirst(sent)
        guard !outgoing.isEmpty, retryTimer == nil else { return }
        retryTimer = loop.schedule(after: .milliseconds(2)) { [weak self] in
            guard let self else { return }
            self.retryTimer = nil
            self.flush()
        }
    }

    private func connected() {
        isConnected = true
        (isRefused, fruitless) = (false, 0)
        flush()
        onConnect()
    }

    private func received(_ message: Message) {
        guard let payload = message.frames.last else { return }
        if let call = OnEvents(frame: payload) { return onEvents(call) }
        guard let decoded = try? WireMessage(decoding: payload) else { return }
        switch decoded {
        case .request(let request): onRequest(request)
        case .response(let response):
            let number = response.rid == nil ? unread(response.outcome) : response.rid?.number
            guard let number, let call = pending.removeValue(forKey: number) else { return }
            call.timer.cancel()
            call.completion(response.outcome)
        }
    }

    /// Which call an answer without a number is to: the server did not read it, since it is too long. Those that are too long
    /// are longer than all others, so it is the longest; of several as long, the oldest.
    private func unread(_ outcome: Result<RawJSON, EventStreamError>) -> UInt64? {
        guard case .failure = outcome else { return nil }
        return pending.filter(\.value.isSent).max { ($0.value.size, $1.key) < ($1.value.size, $0.key) }?.key
    }
}

extension CallChannel {
    func call(_ call: Call, timeout: Duration) async throws(EventStreamError) -> RawJSON {
        let result: Result<RawJSON, EventStreamError> = await withCheckedContinuation { continuation in
            self.call(call, timeout: timeout) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }
}

extension ClientKeys {
    /// For sockets that connect.
    package var options: [Socket.Option] {
        [
            .curveClient(
                serverKey: serverKey.bytes, publicKey: certificate.publicKey.bytes, secretKey: certificate.secretKey!.bytes)
        ]
    }
}
