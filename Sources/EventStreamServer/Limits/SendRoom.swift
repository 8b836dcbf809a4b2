import EventStream
import LibZMQ
import Logging
import PosixLoop

/// The room for what waits to be sent over a server's socket. While there is too little, peers that take nothing at all for
/// a second lose their connections and with them what waits; they may come back.
final class SendRoom {
    /// Bytes of an answer that always goes: the high-water mark bounds their number.
    static let small = 512

    private let budget: SendBudget
    /// Bytes that may wait for one user.
    private let userBytes: Int
    private let peers: PeerTable
    private let loop: EventLoop
    private let logger: Logger
    /// Bytes that wait to be sent, to all of them.
    private let waiting = ByteGauge()
    private var stuck = StuckConnections<PeerConnection>(looks: 11)
    private var timer: Timer?
    private var peerLog = PeerLog()
    weak var monitor: Monitor?

    init(_ budget: SendBudget, userBytes: Int, peers: PeerTable, loop: EventLoop, logger: Logger) {
        (self.budget, self.userBytes, self.peers, self.loop, self.logger) = (budget, userBytes, peers, loop, logger)
    }

    func stop() { timer?.cancel() }

    /// Whether so many bytes may be sent to the peer now.
    func has(_ bytes: Int, for peer: Peer) -> Bool {
        let others = peers.waiting(for: peer.account)
        if others == 0 || others + bytes <= userBytes,
            budget.allows(bytes, waiting: peers.waiting(for: peer), total: waiting.bytes)
        {
            return true
        }
        cutStuckPeersSoon()
        return false
    }

    /// What counts the bytes of a message until they are sent.
    func gauges(of bytes: Int, for peer: Peer) -> [ByteGauge] {
        bytes > SendRoom.small ? peers.gauges(of: peer) + [waiting] : []
    }

    private var isShort: Bool { waiting.bytes > budget.limit / 2 || peers.hasMuchWaiting(userBytes / 2) }

    private func cutStuckPeersSoon() {
        guard timer == nil else { return }
        timer = loop.schedule(after: .milliseconds(100)) { [weak self] in
            guard let self else { return }
            self.timer = nil
            guard self.isShort else { return self.stuck.forget() }
            self.cutStuckPeers()
            self.cutStuckPeersSoon()
        }
    }

    private func cutStuckPeers() {
        monitor?.dispatch()
        var unsent: [PeerConnection: Int] = [:]
        for connection in peers.behind.map({ PeerConnection($0) }) { unsent[connection] = connection.unsentBytes }
        for connection in stuck.look(unsent) {
            let caller = peers.caller(on: connection.descriptor)
            if let line = peerLog.line("takes nothing", of: caller.map { .account($0.account) } ?? .unknown) {
                logger.notice(
                    "a peer that takes nothing was disconnected: others had no room any more",
                    metadata: line.metadata([.user: "\(caller?.user.name ?? "?")"]))
            }
            connection.cut()
        }
    }
}
