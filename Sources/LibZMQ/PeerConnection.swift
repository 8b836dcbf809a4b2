import CGlibc
import Glibc

/// One connection of a socket, by the descriptor its ``Monitor`` names.
///
/// libzmq owns the descriptor and tells nothing of single subscribers; the system does. Between an event of the monitor
/// and a call here a connection may end and its number be used again: what is done to it must be harmless to any.
package struct PeerConnection: Hashable, Sendable {
    package let descriptor: Int32

    package init(_ descriptor: Int32) { self.descriptor = descriptor }

    /// Bytes handed to the system that the peer has not taken yet; nil if the connection is gone (tcp(7), SIOCOUTQ).
    package var unsentBytes: Int? {
        var count: Int32 = 0
        return evt_unsent_bytes(descriptor, &count) == 0 ? Int(count) : nil
    }

    /// Bytes the system has received over it, whoever has read them; nil if it is gone, or not over TCP.
    package var receivedBytes: Int? {
        // `struct tcp_info` of linux/tcp.h, which has grown at its end; glibc's own lacks what is needed.
        let (size, offset) = (256, 128)
        return withUnsafeTemporaryAllocation(byteCount: size, alignment: 8) { info in
            var length = socklen_t(size)
            guard getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, info.baseAddress, &length) == 0,
                Int(length) >= offset + 8
            else { return nil }
            return Int(clamping: info.load(fromByteOffset: offset, as: UInt64.self))
        }
    }

    /// Ends it; libzmq drops what waits for the peer, which may connect again.
    package func cut() { shutdown(descriptor, Int32(SHUT_RDWR)) }
}
