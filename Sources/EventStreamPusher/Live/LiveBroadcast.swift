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
    private let subscribers: Subscribers
    private var monitor: Monitor?
    /// Bytes that wait; what several subscribers wait for is there once.
    private let waiting = ByteGauge()
    private var backlog: BroadcastBacklog
    private var timer: Timer?
    private var peerLog = PeerLog()
    private(set) var endpoints: [String] = []
    var onDropped: (Int) -> Void = { _ in }
    var subscriberCount: Int { subscribers.count }

    /// Messages that may wait for one subscriber; more are dropped for this one.
    private static let longestQueue: Int32 = 100_000

    /// Bytes that a message's two frames take in a subscriber's queue, besides their contents.
    private static let slot = 128

    init(
        binding endpoints: Endpoints, access: AccessControl, limits: PeerLimits, backlog: BroadcastBacklog, context: Context,
        loop: EventLoop, logger: Logger
    ) throws {
        (self.backlog, self.loop, self.logger) = (backlog, loop, logger)
        reserve = DescriptorReserve(logger: logger)
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
        backlog.append(page)
        sendNext()
    }

    private func sendNext() {
        while let (page, events) = backlog.next(waiting: waiting.bytes) { broadcast(page, events) }
        if !backlog.isEmpty { trySoon() }
    }

    private func broadcast(_ page: EventPage, _ events: Range<Int>) {
        var buffer: [UInt8] = []
        for index in events {
            let type = page.entries[index].type
            subscribers.willBroadcast(type)
            buffer.removeAll(keepingCapacity: true)
            page.append(index..<(index + 1), fields: [], to: &buffer)
            buffer.removeLast()
            _ = try? socket.send([type.utf8, buffer], gauges: [waiting], overhead: LiveBroadcast.slot * subscribers.count)
        }
    }

    /// Too much waits: tries again soon, and after a second without those that are stuck.
    private func trySoon() {
        guard timer == nil else { return }
        timer = loop.schedule(after: .milliseconds(5)) { [weak self] in
            guard let self else { return }
            self.timer = nil
            self.monitor?.dispatch()
            self.sendNext()
            if self.backlog.isLookDue(at: .now) { self.look() }
        }
    }

    private func look() {
        var unsent: [PeerConnection: Int] = [:]
        for connection in subscribers.connections.map({ PeerConnection($0) }) { unsent[connection] = connection.unsentBytes }
        let (slow, dropped) = backlog.look(unsent)
        for connection in slow { subscribers.cutSlow(connection.descriptor) }
        guard dropped > 0 else { return }
        onDropped(dropped)
        guard let line = peerLog.line("events were dropped", of: .unknown) else { return }
        logger.warning(
            "live subscribers do not keep up: events were dropped for all of them",
            metadata: line.metadata([.events: "\(dropped)"]))
    }
}
