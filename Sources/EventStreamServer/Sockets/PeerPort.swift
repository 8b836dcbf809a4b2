package import EventStream
package import LibZMQ

/// The peers of a server's socket.
package protocol PeerPort: AnyObject {
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
    package func answer(_ peer: Peer, _ rid: RequestID?, _ result: RawJSON) -> SendOutcome {
        answer(peer, .init(outcome: .success(result), rid: rid))
    }

    @discardableResult
    package func answer(_ peer: Peer, _ rid: RequestID?, _ error: EventStreamError) -> SendOutcome {
        answer(peer, .init(outcome: .failure(error), rid: rid))
    }
}

/// The peers of a pusher that serves no calls.
package final class Nobody: PeerPort {
    package init() {}
    package func send(_ peer: Peer, _ payload: [UInt8]) -> SendOutcome { .unreachable }
    package func answer(_ peer: Peer, _ response: WireMessage.Response) -> SendOutcome { .unreachable }
    package func hasRoom(for bytes: Int, to peer: Peer) -> Bool { false }
    package func isConnected(_ peer: Peer) -> Bool { false }
    package func isCurrent(_ caller: Caller) -> Bool { false }
}
