import EventStream
import LibZMQ

/// The peers of a server's socket.
protocol PeerPort: AnyObject {
    /// Sends a call to a peer. Peers that turn out to be gone may be reported before it returns.
    func send(_ peer: Peer, _ payload: [UInt8]) -> SendOutcome
    @discardableResult
    func answer(_ peer: Peer, _ response: WireMessage.Response) -> SendOutcome
    /// Whether so many bytes may be sent to the peer now.
    func hasRoom(for bytes: Int, to peer: Peer) -> Bool
    func isConnected(_ peer: Peer) -> Bool
    /// Whether the caller still has the rights it had when it called.
    func isCurrent(_ caller: Caller) -> Bool
}

extension PeerPort {
    @discardableResult
    func answer(_ peer: Peer, _ rid: RequestID?, _ result: RawJSON) -> SendOutcome {
        answer(peer, .init(outcome: .success(result), rid: rid))
    }

    @discardableResult
    func answer(_ peer: Peer, _ rid: RequestID?, _ error: EventStreamError) -> SendOutcome {
        answer(peer, .init(outcome: .failure(error), rid: rid))
    }
}

/// The peers of a pusher that serves no calls.
final class Nobody: PeerPort {
    func send(_ peer: Peer, _ payload: [UInt8]) -> SendOutcome { .unreachable }
    func answer(_ peer: Peer, _ response: WireMessage.Response) -> SendOutcome { .unreachable }
    func hasRoom(for bytes: Int, to peer: Peer) -> Bool { false }
    func isConnected(_ peer: Peer) -> Bool { false }
    func isCurrent(_ caller: Caller) -> Bool { false }
}
