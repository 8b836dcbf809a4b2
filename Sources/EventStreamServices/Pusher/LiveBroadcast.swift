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
    private(set) var endpoints: [String] = []

    init(binding endpoints: [String], context: Context, loop: EventLoop) throws {
        self.loop = loop
        socket = try Socket(
            .xpub, in: context,
            options: [
                .sendHighWaterMark(20_000), .ipv6(endpoints.contains { $0.contains("[") }),
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
        for index in 0..<page.count {
            buffer.removeAll(keepingCapacity: true)
            page.append(index..<(index + 1), precise: false, to: &buffer)
            buffer.removeLast()
            _ = try? socket.send([page.entries[index].type.utf8, buffer])
        }
    }
}
