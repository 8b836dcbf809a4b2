import CZeroMQ
import Glibc

/// A ZeroMQ context: the I/O thread its sockets share.
///
/// `@unchecked Sendable`: contexts are thread-safe (zmq_ctx_new(3)); the handle never changes.
package final class Context: @unchecked Sendable {
    let handle: UnsafeMutableRawPointer

    /// - Parameters:
    ///   - ioThreads: 1 serves about a gigabyte a second (zmq_ctx_set(3)). With one thread, a connection's monitor
    ///     events and its messages come in one order.
    ///   - maxSockets: connections are not counted, sockets are.
    package init(ioThreads: Int32 = 1, maxSockets: Int32 = 1023) {
        _ = Context.seed
        handle = zmq_ctx_new()!
        zmq_ctx_set(handle, ZMQ_IO_THREADS, ioThreads)
        zmq_ctx_set(handle, ZMQ_MAX_SOCKETS, maxSockets)
    }

    /// libzmq numbers the routing ids it gives to peers from a random number on, and ends the process if a peer has chosen one
    /// that it comes to (`router.cpp`); with rand(3) never seeded anybody could tell which.
    private static let seed: Void = srand(.random(in: 0...UInt32.max))

    deinit {
        // Every socket has been closed: each holds its context. Only lingering messages are waited for.
        while zmq_ctx_term(handle) != 0 && zmq_errno() == EINTR {}
    }

    /// The version of libzmq in use.
    package static var libraryVersion: (major: Int, minor: Int, patch: Int) {
        var (major, minor, patch): (Int32, Int32, Int32) = (0, 0, 0)
        zmq_version(&major, &minor, &patch)
        return (Int(major), Int(minor), Int(patch))
    }
}
