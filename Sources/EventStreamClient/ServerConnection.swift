import EventStream
package import LibZMQ
import PosixLoop

protocol ServerConnectionDelegate: AnyObject {
    /// Messages can flow.
    func connected()
    func received(_ message: Message)
    /// The connection was lost, with all that was sent over it and not answered; a new one is being made.
    func disconnected(because reason: String)
}

/// A connection to a server, which is made again, to the next endpoint, whenever it is lost.
///
/// Belongs to the loop's thread.
final class ServerConnection {
    private struct Link {
        let socket: Socket
        let source: SocketSource
        let monitor: Monitor
    }

    private let loop: EventLoop
    private let context = Context()
    private let keys: ClientKeys?
    private let timeout: Duration
    private var attempts: ConnectionAttempts
    private var link: Link?
    private var retryTimer: Timer?
    private var connectTimer: Timer?
    private(set) var isConnected = false
    private(set) var isClosed = false
    weak var delegate: (any ServerConnectionDelegate)?

    /// - Parameters:
    ///   - endpoints: where the server is, one or several alternatives; not empty.
    ///   - keys: nil for a server without keys.
    ///   - timeout: a server not heard of for two thirds of it is given up.
    init(_ endpoints: [String], keys: ClientKeys?, timeout: Duration, loop: EventLoop) {
        (self.keys, self.timeout, self.loop) = (keys, timeout, loop)
        attempts = ConnectionAttempts(endpoints)
    }

    /// Why there is no connection, as far as can be told.
    var absence: String { attempts.absence(isKeyed: keys != nil) }

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
                .heartbeat(interval: timeout / 5, timeout: timeout * 2 / 3), .maxMessageSize(Int64(4 * MessageLimit.events)),
                .ipv6(true),
            ] + (keys?.options ?? []))
        let monitor = try Monitor(socket, name: "channel-\(UInt64.random(in: 0...UInt64.max))") { [weak self] in
            self?.changed($0)
        }
        let source = SocketSource(socket) { [weak self] in self?.delegate?.received($0) }
        try socket.connect(attempts.endpoint)
        link = Link(socket: socket, source: source, monitor: monitor)
        loop.add(monitor)
        loop.add(source)
        guard attempts.hasAlternatives else { return }
        // Calls that wait for a connection wait on.
        connectTimer = loop.schedule(after: .seconds(1)) { [weak self] in
            guard let self, !self.isConnected else { return }
            self.closeLink()
            self.attempts.moveOn()
            self.openLater()
        }
    }

    private func changed(_ event: Monitor.Event) {
        // After a loss the same turn may bring what libzmq has done since; it counts no more.
        guard link != nil else { return }
        switch event {
        case .connected: attempts.connected(at: .now)
        case .handshakeFailed: attempts.handshakeFailed(at: .now)
        case .ready:
            isConnected = true
            attempts.handshakeSucceeded()
            delegate?.connected()
        case .disconnected: reset(because: isConnected ? "the connection to the server was lost" : absence)
        }
    }

    /// Gives the connection up and begins a new one, to the next endpoint.
    func reset(because reason: String) {
        guard link != nil else { return }
        attempts.lost()
        closeLink()
        openLater()
        delegate?.disconnected(because: reason)
    }

    /// Opens after a pause, and tries again until it succeeds.
    func openLater() {
        retryTimer = loop.schedule(after: attempts.pause) { [weak self] in
            guard let self, !self.isClosed else { return }
            // Out of descriptors, perhaps; that may pass.
            do { try self.open() } catch { self.openLater() }
        }
    }

    /// Closes for good.
    func close() {
        isClosed = true
        closeLink()
    }

    private func closeLink() {
        retryTimer?.cancel()
        connectTimer?.cancel()
        if let link {
            loop.remove(link.source)
            loop.remove(link.monitor)
        }
        (retryTimer, connectTimer, link) = (nil, nil, nil)
        isConnected = false
    }

    /// - Returns: whether the message was taken; false without a connection, or while too much waits.
    func send(_ payload: [UInt8]) -> Bool {
        guard isConnected, let link else { return false }
        return (try? link.socket.send([payload])) == .sent
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
