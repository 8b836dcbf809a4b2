import CGlibc
import Glibc

/// One connection of a socket, by the descriptor its ``Monitor`` names.
///
/// libzmq owns the descriptor and tells nothing of single subscribers; the system does. Between an event of the monitor
/// and a call here a connection may end and its number be used again: what is done to it must be harmless to any.
public struct PeerConnection: Hashable, Sendable {
    public let descriptor: Int32

    public init(_ descriptor: Int32) { self.descriptor = descriptor }

    /// Bytes handed to the system that the peer has not taken yet; nil if the connection is gone (tcp(7), SIOCOUTQ).
    public var unsentBytes: Int? {
        var count: Int32 = 0
        return evt_unsent_bytes(descriptor, &count) == 0 ? Int(count) : nil
    }

    /// Ends it; libzmq drops what waits for the peer, which may connect again.
    public func cut() { shutdown(descriptor, Int32(SHUT_RDWR)) }
}
