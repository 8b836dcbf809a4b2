import CZeroMQ
import Glibc
import Synchronization

/// A ZeroMQ socket, without blocking calls. Belongs to one thread.
package final class Socket {
    package enum Kind: Sendable {
        case router, dealer, xpub, pub, sub, pair, req, rep

        var value: Int32 {
            switch self {
            case .router: ZMQ_ROUTER
            case .dealer: ZMQ_DEALER
            case .xpub: ZMQ_XPUB
            case .pub: ZMQ_PUB
            case .sub: ZMQ_SUB
            case .pair: ZMQ_PAIR
            case .req: ZMQ_REQ
            case .rep: ZMQ_REP
            }
        }
    }

    /// What can be set on a socket before it is bound or connected (zmq_setsockopt(3)).
    package enum Option: Sendable {
        /// Messages queued for one peer at most; 0 is no limit.
        case sendHighWaterMark(Int32), receiveHighWaterMark(Int32)
        /// How long closing waits for unsent messages; zero drops them.
        case linger(Duration)
        /// A larger message closes the peer's connection; bytes.
        case maxMessageSize(Int64)
        /// The name a ROUTER knows this socket by; 1 to 255 bytes, not starting with a zero.
        case routingID([UInt8])
        /// Sending to an unknown or full peer is an error instead of silence.
        case routerMandatory(Bool)
        /// A new connection with a known routing id takes its place.
        case routerHandover(Bool)
        /// Probes idle connections, so that a vanished peer is noticed (ZMTP heartbeats).
        case heartbeat(interval: Duration, timeout: Duration)
        /// Tells the peer with each heartbeat that the connection is dead if nothing follows for so long, whatever the peer's own
        /// options are. libzmq heeds that as long as the heartbeat is the last thing that came (4.3.4, `decode_and_push`).
        case heartbeatTimeToLive(Duration)
        case reconnect(first: Duration, longest: Duration)
        case handshakeTimeout(Duration)
        case subscribe([UInt8]), unsubscribe([UInt8])
        case ipv6(Bool)
        /// Only queue for connections that are complete: sending without a peer fails instead of piling up.
        case immediate(Bool)
        /// Asks the context's ``Authenticator`` about each peer, under this name; without one nobody is admitted.
        case authenticated(domain: String)
        /// Admits only peers that prove a key (CURVE, ZeroMQ RFC 26), and encrypts; the secret key, 32 bytes.
        case curveServer(secretKey: [UInt8])
        /// Connects only to the server that proves to have this key; each 32 bytes.
        case curveClient(serverKey: [UInt8], publicKey: [UInt8], secretKey: [UInt8])
        /// Every subscription is reported (``Socket/receiveSubscription()``), not only the first of its kind (XPUB).
        case verboseSubscriptions
        /// None takes effect by itself: ``subscribe(_:)`` and ``unsubscribe(_:)`` are for the peer whose request was received
        /// last (XPUB). Never use them for a peer that may be gone: libzmq 4.3.4 does not check.
        case manualSubscriptions
    }

    let handle: UnsafeMutableRawPointer
    package let context: Context
    /// Whether messages tell whose they are.
    private(set) var isAuthenticated = false
    /// Whether ``events()`` is worth asking: libzmq takes news in within its calls, and only otherwise tells by the descriptor.
    var mayHaveChanged = true

    /// - Throws: if the context's socket limit or the process's descriptor limit is reached.
    package init(_ kind: Kind, in context: Context, options: [Option] = []) throws(ZeroMQError) {
        guard let handle = zmq_socket(context.handle, kind.value) else { throw ZeroMQError("creating a \(kind) socket") }
        self.handle = handle
        self.context = context
        try set(.linger(.zero))
        for option in options { try set(option) }
    }

    deinit { zmq_close(handle) }

    // MARK: Options

    package func set(_ option: Option) throws(ZeroMQError) {
        switch option {
        case .sendHighWaterMark(let value): try set(ZMQ_SNDHWM, value)
        case .receiveHighWaterMark(let value): try set(ZMQ_RCVHWM, value)
        case .linger(let value): try set(ZMQ_LINGER, value.milliseconds)
        case .maxMessageSize(let value): try set(ZMQ_MAXMSGSIZE, value)
        case .routingID(let value): try set(ZMQ_ROUTING_ID, bytes: value)
        case .routerMandatory(let value): try set(ZMQ_ROUTER_MANDATORY, Int32(value ? 1 : 0))
        case .routerHandover(let value): try set(ZMQ_ROUTER_HANDOVER, Int32(value ? 1 : 0))
        case .heartbeat(let interval, let timeout):
            try set(ZMQ_HEARTBEAT_IVL, interval.milliseconds)
            try set(ZMQ_HEARTBEAT_TIMEOUT, timeout.milliseconds)
        case .heartbeatTimeToLive(let value): try set(ZMQ_HEARTBEAT_TTL, value.milliseconds)
        case .reconnect(let first, let longest):
            try set(ZMQ_RECONNECT_IVL, first.milliseconds)
            try set(ZMQ_RECONNECT_IVL_MAX, longest.milliseconds)
        case .handshakeTimeout(let value): try set(ZMQ_HANDSHAKE_IVL, value.milliseconds)
        case .subscribe(let value): try set(ZMQ_SUBSCRIBE, bytes: value)
        case .unsubscribe(let value): try set(ZMQ_UNSUBSCRIBE, bytes: value)
        case .ipv6(let value): try set(ZMQ_IPV6, Int32(value ? 1 : 0))
        case .immediate(let value): try set(ZMQ_IMMEDIATE, Int32(value ? 1 : 0))
        case .authenticated(let domain):
            try set(ZMQ_ZAP_DOMAIN, bytes: Array(domain.utf8))
            try set(Socket.zapEnforceDomain, Int32(1))
            isAuthenticated = true
        case .curveServer(let secretKey):
            try set(ZMQ_CURVE_SERVER, Int32(1))
            try set(ZMQ_CURVE_SECRETKEY, bytes: secretKey)
        case .curveClient(let serverKey, let publicKey, let secretKey):
            try set(ZMQ_CURVE_SERVERKEY, bytes: serverKey)
            try set(ZMQ_CURVE_PUBLICKEY, bytes: publicKey)
            try set(ZMQ_CURVE_SECRETKEY, bytes: secretKey)
        case .verboseSubscriptions: try set(ZMQ_XPUB_VERBOSER, Int32(1))
        case .manualSubscriptions: try set(ZMQ_XPUB_MANUAL, Int32(1))
        }
    }

    /// `ZMQ_ZAP_ENFORCE_DOMAIN`, which zmq.h has among its drafts: without it everyone is admitted when nobody can be asked.
    private static let zapEnforceDomain: Int32 = 93

    private func set<Value: FixedWidthInteger>(_ option: Int32, _ value: Value) throws(ZeroMQError) {
        mayHaveChanged = true
        var value = value
        guard zmq_setsockopt(handle, option, &value, MemoryLayout<Value>.size) == 0 else {
            throw ZeroMQError("setting socket option \(option) to \(value)")
        }
    }

    private func set(_ option: Int32, bytes: [UInt8]) throws(ZeroMQError) {
        mayHaveChanged = true
        guard zmq_setsockopt(handle, option, bytes, bytes.count) == 0 else {
            throw ZeroMQError("setting socket option \(option)")
        }
    }

    // MARK: Endpoints

    /// The umask is the process's: two threads that set it and put it back at once may leave the other's.
    private static let umaskLock = Mutex(())

    /// Binds, and returns the endpoint actually bound: a port of `*` or 0 is chosen by the system.
    ///
    /// - Parameter mode: the permissions of an `ipc://` endpoint's file.
    @discardableResult
    package func bind(_ endpoint: String, mode: UInt32 = 0o600) throws(ZeroMQError) -> String {
        mayHaveChanged = true
        // The file must at no time be open to others (unix(7): connecting needs write permission).
        let error: ZeroMQError? = Socket.umaskLock.withLock { _ in
            let before = endpoint.hasPrefix("ipc://") ? umask(~mode & 0o777) : nil
            defer { if let before { umask(before) } }
            return zmq_bind(handle, endpoint) == 0 ? nil : ZeroMQError("binding \(endpoint)")
        }
        if let error { throw error }
        var buffer = [CChar](repeating: 0, count: 1024)
        var size = buffer.count
        guard zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, &buffer, &size) == 0 else { return endpoint }
        return String(decoding: buffer.prefix(max(size - 1, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    package func unbind(_ endpoint: String) throws(ZeroMQError) {
        mayHaveChanged = true
        guard zmq_unbind(handle, endpoint) == 0 else { throw ZeroMQError("unbinding \(endpoint)") }
    }

    /// Connects in the background; ZeroMQ reconnects on its own.
    package func connect(_ endpoint: String) throws(ZeroMQError) {
        mayHaveChanged = true
        guard zmq_connect(handle, endpoint) == 0 else { throw ZeroMQError("connecting to \(endpoint)") }
    }

    // MARK: DescriptorEvents

    /// The descriptor to wait on; edge-triggered, see ``events()``.
    package var descriptor: Int32 {
        var value: Int32 = -1
        var size = MemoryLayout<Int32>.size
        zmq_getsockopt(handle, ZMQ_FD, &value, &size)
        return value
    }

    /// The descriptor is readable.
    package func descriptorFired() { mayHaveChanged = true }

    /// Whether a message can be received; libzmq is asked only if something may have changed.
    package func isReadable() -> Bool { mayHaveChanged && events().readable }

    /// Whether a message can be received, or sent, at this moment.
    package func events() -> (readable: Bool, writable: Bool) {
        var value: Int32 = 0
        var size = MemoryLayout<Int32>.size
        while zmq_getsockopt(handle, ZMQ_EVENTS, &value, &size) != 0 {
            guard zmq_errno() == EINTR else { return (false, false) }
        }
        // This call has emptied the mailbox, so that what comes next makes the descriptor readable.
        mayHaveChanged = value & ZMQ_POLLIN != 0
        return (value & ZMQ_POLLIN != 0, value & ZMQ_POLLOUT != 0)
    }
}

extension Duration {
    /// Whole milliseconds, within what libzmq takes.
    var milliseconds: Int32 {
        let (seconds, attoseconds) = components
        return Int32(clamping: seconds * 1000 + attoseconds / 1_000_000_000_000_000)
    }
}
