import EventLoop
import EventStream
import ZeroMQ

/// The live broadcast for plain subscribers: `[event type][event as JSON]` (protocol, section 6).
final class LiveBroadcast {
    private let socket: Socket
    private let loop: EventLoop
    private var source: SocketSource?
    private var subscriptions = 0
    private var buffer: [UInt8] = []
    private(set) var endpoints: [String] = []

    init(binding endpoints: [String], context: Context, loop: EventLoop) throws {
        self.loop = loop
        socket = try Socket(
            .xpub, in: context,
            options: [
                .sendHighWaterMark(20_000), .ipv6(true), .heartbeat(interval: .seconds(5), timeout: .seconds(15)),
                .maxMessageSize(1024),
            ])
        for endpoint in endpoints { self.endpoints.append(try socket.bind(endpoint)) }
    }

    func start() {
        // An XPUB tells of the first subscription and the last unsubscription of every prefix.
        let source = SocketSource(socket) { [unowned self] message in
            switch message.frames.first?.first {
            case 1: self.subscriptions += 1
            case 0: self.subscriptions = max(0, self.subscriptions - 1)
            default: break
            }
        }
        self.source = source
        loop.add(source)
    }

    func stop() {
        if let source { loop.remove(source) }
        source = nil
    }

    func send(_ page: EventPage) {
        // Subscriptions that arrived before this page count for it.
        source?.dispatch()
        guard subscriptions > 0 else { return }
        for index in 0..<page.count {
            buffer.removeAll(keepingCapacity: true)
            page.append(at: index, precise: false, to: &buffer)
            _ = try? socket.send([page.entries[index].type.utf8, buffer])
        }
    }
}
