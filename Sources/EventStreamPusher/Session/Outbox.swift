import EventStream
import EventStreamServer

/// Calls to peers, each under a number of its own.
final class Outbox {
    let peers: any PeerPort
    private var lastRid: UInt64

    /// - Parameter rid: numbers of an earlier run must not come again: a late answer to that run would be taken for one of this.
    init(_ peers: any PeerPort, after rid: UInt64 = .random(in: 1..<1 << 40) << 20) {
        self.peers = peers
        lastRid = rid
    }

    func nextRid() -> UInt64 {
        lastRid += 1
        return lastRid
    }

    func hasRoom(for bytes: Int, to session: Session) -> Bool { peers.hasRoom(for: bytes, to: session.peer) }
}
