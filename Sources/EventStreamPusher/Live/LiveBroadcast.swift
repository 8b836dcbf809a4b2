import EventStream
import EventStreamServer
import LibZMQ
import Logging
import PosixLoop

/// The live broadcast for plain subscribers: `[event type][event as JSON]` (protocol, section 6).
///
/// A subscriber's queue is bounded by the number of its messages, which libzmq counts, and all of them together by their
/// bytes, which it does not. When too much waits, the broadcast holds back for a moment: those who are merely behind catch
/// up. Those who take nothing at all are disconnected, and where that is not enough the slowest; nobody else notices.
final class LiveBroadcast {
    private let socket: Socket
    private let loop: EventLoop
    private let logger: Logger
    private var reserve: DescriptorReserve
    private let byteLimit: Int
    private let holdLimit: Int
    private let subscribers: Subscribers
    private var monitor: Monitor?
    private var buffer: [UInt8] = []
    /// Bytes that wait; what several subscribers wait for is there once.
    private let waiting = ByteGauge()
    /// Pages that are held back; they are in the window, too, so that holding them takes no memory of its own.
    private var held: [EventPage] = []
    private var heldBytes = 0
    /// Of what was broadcast.
    private var newest = EventID.none
    private var stuck = StuckConnections<PeerConnection>(looks: 21)
    private var nextLook = MonotonicTime.now
    private var timer: Timer?
    private var peerLog = PeerLog()
    private(set) var endpoints: [String] = []
    var onDropped: (Int) -> Void = { _ in }
    var subscriberCount: Int { subscribers.count }

    /// Messages that may wait for one subscriber; more are dropped for this one.
    private static let longestQueue: Int32 = 100_000

    /// Bytes that a message's two frames take in a subscriber's queue, besides their contents.
    private static let slot = 128

    /// - Parameters:
    ///   - byteLimit: bytes that may wait, all subscribers together.
    ///   - holdLimit: bytes that may be held back before the oldest are dropped.
    init(
        binding endpoints: Endpoints, access: AccessControl, limits: PeerLimits, context: Context, loop: EventLoop,
        byteLimit: Int, holdLimit: Int, logger: Logger
    ) throws {
        self.loop = loop
        self.logger = logger
        reserve = DescriptorReserve(logger: logger)
        self.byteLimit = byteLimit
        self.holdLimit = holdLimit
        socket = try Socket(
            .xpub, in: context,
            options: [
                .sendHighWaterMark(LiveBroadcast.longestQueue), .ipv6(endpoints.list.contains { $0.contains("[") }),
                .heartbeat(interval: .seconds(5), timeout: .seconds(15)), .heartbeatTimeToLive(.seconds(15)),
                .handshakeTimeout(.seconds(5)),
                .maxMessageSize(access.isKeyed ? 512 : 128), .receiveHighWaterMark(0),
                access.isKeyed ? .manualSubscriptions : .verboseSubscriptions,
            ] + access.options(for: .live))
        subscribers = Subscribers(of: socket, access: access, limits: limits, logger: logger)
        monitor = try Monitor(socket, name: "live") { [weak self] event in
            guard let self else { return }
            switch event {
            case .connected(let connection):
                self.reserve.protect(from: connection)
                self.subscribers.connected(connection)
            case .disconnected(let connection): self.subscribers.disconnected(connection)
            case .ready, .handshakeFailed: break
            }
        }
        subscribers.lookAtConnections = { [weak self] in self?.monitor?.dispatch() }
        for endpoint in endpoints.list { self.endpoints.append(try socket.bind(endpoint, mode: endpoints.ipcMode)) }
    }

    func start() {
        guard let monitor else { return }
        loop.add(monitor)
        loop.add(subscribers)
    }

    func stop() {
        timer?.cancel()
        loop.remove(subscribers)
        subscribers.stop()
        if let monitor { loop.remove(monitor) }
        monitor = nil
    }

    func send(_ page: EventPage) {
        // Whoever connected before this page counts for it.
        monitor?.dispatch()
        guard subscribers.count > 0 else { return }
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
        // After a fail-over the stream begins anew a little before where it was: subscribers get each event once, in order.
        for index in 0..<page.count where page.entries[index].id > newest {
            newest = page.entries[index].id
            subscribers.willBroadcast(page.entries[index].type)
            buffer.removeAll(keepingCapacity: true)
            page.append(index..<(index + 1), precise: false, to: &buffer)
            buffer.removeLast()
            _ = try? socket.send(
                [page.entries[index].type.utf8, buffer], gauges: [waiting], overhead: LiveBroadcast.slot * subscribers.count)
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
        for connection in subscribers.connections.map({ PeerConnection($0) }) { unsent[connection] = connection.unsentBytes }
        var slow = stuck.look(unsent)
        if slow.isEmpty, heldBytes > holdLimit / 2, let worst = unsent.max(by: { $0.value < $1.value }), worst.value > 0 {
            slow = [worst.key]
        }
        for connection in slow { subscribers.cutSlow(connection.descriptor) }
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
        onDropped(dropped)
        guard let line = peerLog.line("events were dropped", of: .unknown) else { return }
        logger.warning(
            "live subscribers do not keep up: events were dropped for all of them",
            metadata: line.metadata([.events: "\(dropped)"]))
    }
}
