import EventLoop
import EventStream
import Logging
import ZeroMQ

/// The live broadcast for plain subscribers: `[event type][event as JSON]` (protocol, section 6).
///
/// A subscriber's queue is bounded by the number of its messages, which libzmq counts, and all of them together by their
/// bytes, which it does not. When too much waits, the broadcast holds back for a moment: those who are merely behind catch
/// up. Those who take nothing at all are disconnected, and where that is not enough the slowest; nobody else notices.
final class LiveBroadcast {
    private let socket: Socket
    private let loop: EventLoop
    private let logger: Logger
    private let byteLimit: Int
    private let holdLimit: Int
    private var source: SocketSource?
    private var monitor: Monitor?
    /// The present connections: without any, nothing is put together.
    private var connections: Set<Int32> = []
    private var buffer: [UInt8] = []
    /// Bytes that wait; what several subscribers wait for is there once.
    private let waiting = ByteGauge()
    /// Pages that are held back; they are in the window, too, so that holding them takes no memory of its own.
    private var held: [EventPage] = []
    private var heldBytes = 0
    private var stuck = StuckConnections<PeerConnection>(looks: 21)
    private var nextLook = MonotonicTime.now
    private var timer: Timer?
    private(set) var endpoints: [String] = []

    /// Messages that may wait for one subscriber; more are dropped for this one.
    private static let longestQueue: Int32 = 100_000

    /// Bytes that a message's two frames take in a subscriber's queue, besides their contents.
    private static let slot = 128

    /// - Parameters:
    ///   - byteLimit: bytes that may wait, all subscribers together.
    ///   - holdLimit: bytes that may be held back before the oldest are dropped.
    init(
        binding endpoints: [String], context: Context, loop: EventLoop, byteLimit: Int, holdLimit: Int, logger: Logger
    ) throws {
        self.loop = loop
        self.logger = logger
        self.byteLimit = byteLimit
        self.holdLimit = holdLimit
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
        timer?.cancel()
        if let source { loop.remove(source) }
        if let monitor { loop.remove(monitor) }
        (source, monitor) = (nil, nil)
    }

    func send(_ page: EventPage) {
        // Whoever connected before this page counts for it.
        monitor?.dispatch()
        guard !connections.isEmpty else { return }
        held.append(page)
        heldBytes += page.byteCount
        sendHeld()
    }

    private func sendHeld() {
        var sent = 0
        while sent < held.count, waiting.bytes <= byteLimit / 2 {
            broadcast(held[sent])
            heldBytes -= held[sent].byteCount
            sent += 1
        }
        held.removeFirst(sent)
        if held.isEmpty { stuck.forget() } else { trySoon() }
    }

    private func broadcast(_ page: EventPage) {
        for index in 0..<page.count {
            buffer.removeAll(keepingCapacity: true)
            page.append(index..<(index + 1), precise: false, to: &buffer)
            buffer.removeLast()
            _ = try? socket.send(
                [page.entries[index].type.utf8, buffer], gauge: waiting, overhead: LiveBroadcast.slot * connections.count)
        }
    }

    /// Too much waits: tries again soon, and after a second without those that are stuck.
    private func trySoon() {
        guard timer == nil else { return }
        timer = loop.schedule(after: .milliseconds(5)) { [weak self] in
            guard let self else { return }
            self.timer = nil
            self.monitor?.dispatch()
            self.sendHeld()
            guard !self.held.isEmpty, self.nextLook <= .now else { return }
            self.nextLook = .now + .milliseconds(50)
            self.cutTheSlowest()
            self.dropExcess()
        }
    }

    private func cutTheSlowest() {
        var unsent: [PeerConnection: Int] = [:]
        for connection in connections.map({ PeerConnection($0) }) { unsent[connection] = connection.unsentBytes }
        var slow = stuck.look(unsent)
        if slow.isEmpty, heldBytes > holdLimit / 2, let worst = unsent.max(by: { $0.value < $1.value }), worst.value > 0 {
            slow = [worst.key]
        }
        for connection in slow {
            logger.notice("a live subscriber that does not keep up was disconnected")
            connection.cut()
        }
    }

    /// What is held back is bounded, too: the oldest events are lost to all.
    private func dropExcess() {
        guard heldBytes > holdLimit else { return }
        var dropped = 0
        while heldBytes > holdLimit / 2, let page = held.first {
            held.removeFirst()
            heldBytes -= page.byteCount
            dropped += page.count
        }
        logger.warning("live subscribers do not keep up: events were dropped for all of them", metadata: [.events: "\(dropped)"])
    }
}
