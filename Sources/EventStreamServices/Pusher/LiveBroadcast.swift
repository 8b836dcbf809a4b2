import EventLoop
import EventStream
import ZeroMQ

/// The live broadcast for plain subscribers: `[event type][event as JSON]` (protocol, section 6).
final class LiveBroadcast {
    private let socket: Socket
    private let loop: EventLoop
    private var source: SocketSource?
    private var monitor: Monitor?
    /// The present connections: without any, nothing is put together.
    private var connections: Set<Int32> = []
    private var buffer: [UInt8] = []
    /// Bytes that wait for subscribers; what several wait for is there once.
    private let waiting = ByteGauge()
    private let byteLimit: Int
    private var queueLimit = LiveBroadcast.longestQueue

    /// Messages that may wait for one subscriber at most.
    private static let longestQueue: Int32 = 100_000
    private(set) var endpoints: [String] = []

    /// - Parameter byteLimit: bytes that may wait, all subscribers together, before the queues of slow ones get shorter.
    init(binding endpoints: [String], context: Context, loop: EventLoop, byteLimit: Int) throws {
        self.loop = loop
        self.byteLimit = byteLimit
        socket = try Socket(
            .xpub, in: context,
            options: [
                .sendHighWaterMark(LiveBroadcast.longestQueue), .ipv6(endpoints.contains { $0.contains("[") }),
                .heartbeat(interval: .seconds(5), timeout: .seconds(15)),
                .maxMessageSize(1024),
            ])
        monitor = try Monitor(socket, name: "live") { [unowned self] event in
            switch event {
            case .connected(let connection): self.connections.insert(connection)
            case .disconnected(let connection): self.connections.remove(connection)
            case .ready, .handshakeFailed: break
            }
        }
        for endpoint in endpoints { self.endpoints.append(try socket.bind(endpoint)) }
    }

    func start() {
        guard let monitor, source == nil else { return }
        // Subscriptions are the socket's own affair; what it tells of them is not needed.
        let source = SocketSource(socket) { _ in }
        self.source = source
        loop.add(monitor)
        loop.add(source)
    }

    func stop() {
        if let source { loop.remove(source) }
        if let monitor { loop.remove(monitor) }
        (source, monitor) = (nil, nil)
    }

    func send(_ page: EventPage) {
        // Whoever connected before this page counts for it.
        monitor?.dispatch()
        guard !connections.isEmpty else { return }
        fitQueues()
        for index in 0..<page.count {
            buffer.removeAll(keepingCapacity: true)
            page.append(index..<(index + 1), precise: false, to: &buffer)
            buffer.removeLast()
            _ = try? socket.send([page.entries[index].type.utf8, buffer], gauge: waiting)
            if index & 63 == 63 || buffer.count > 65_536 { fitQueues() }
        }
    }

    /// A queue is bounded by the number of its messages only, so the number is made to fit the bytes: while too much waits,
    /// those who have much waiting get no more, and nobody else notices. libzmq applies a new mark to present connections.
    private func fitQueues() {
        let bytes = waiting.bytes
        // A place in a queue has a size, too.
        let longest = min(LiveBroadcast.longestQueue, Int32(clamping: max(1, byteLimit / 128 / max(1, connections.count))))
        var limit = min(queueLimit, longest)
        if bytes > byteLimit { limit = max(1, limit / 2) } else if bytes < byteLimit / 2 { limit = min(longest, limit * 2) }
        guard limit != queueLimit else { return }
        queueLimit = limit
        try? socket.set(.sendHighWaterMark(limit))
    }
}
