package import EventStream

/// Who serves the peers of a ``RequestServer``.
package protocol RequestHandler: AnyObject {
    /// A peer has sent something, whatever it is.
    func heard(_ peer: Peer)
    /// A call the peer may make, with what it is allowed of it.
    func received(_ call: Call, rid: RequestID?, from peer: Peer)
    /// Returns whether such an answer was waited for.
    func answered(_ response: WireMessage.Response, by peer: Peer) -> Bool
    /// The connection this peer was last heard over has closed.
    func disconnected(_ identity: [UInt8])
    /// The peer may not do any more what it might, or may do more: its sessions are over.
    func revoked(_ identity: [UInt8])
}

/// Of one that calls nobody, and has no sessions.
extension RequestHandler {
    package func heard(_ peer: Peer) {}
    package func answered(_ response: WireMessage.Response, by peer: Peer) -> Bool { false }
    package func disconnected(_ identity: [UInt8]) {}
    package func revoked(_ identity: [UInt8]) {}
}
