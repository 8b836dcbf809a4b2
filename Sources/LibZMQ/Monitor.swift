import CZeroMQ
import PosixLoop

/// Tells what happens to a socket's connections (zmq_socket_monitor(3)).
package final class Monitor: PollSource {
    package enum Event: Sendable, Hashable {
        /// There is a connection with this descriptor; its handshake has yet to be made.
        case connected(Int32)
        /// A handshake succeeded: messages can flow. libzmq does not say over which connection.
        case ready
        /// The connection with this descriptor has ended; the number may be used again at once.
        case disconnected(Int32)
        /// A handshake failed: the wrong protocol, or keys that do not fit.
        case handshakeFailed
    }

    private let monitored: Socket
    private let pair: Socket
    package let descriptor: Int32
    private let handler: (Event) -> Void

    /// - Parameter name: unique among the monitors of the context.
    package init(_ socket: Socket, name: String, handler: @escaping (Event) -> Void) throws(ZeroMQError) {
        let endpoint = "inproc://monitor-\(name)"
        let events =
            ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED
            | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
        guard zmq_socket_monitor(socket.handle, endpoint, Int32(events)) == 0 else {
            throw ZeroMQError("monitoring a socket")
        }
        do {
            pair = try Socket(.pair, in: socket.context, options: [.receiveHighWaterMark(0)])
            try pair.connect(endpoint)
        } catch {
            zmq_socket_monitor(socket.handle, nil, 0)
            throw error
        }
        monitored = socket
        self.handler = handler
        descriptor = pair.descriptor
    }

    deinit { zmq_socket_monitor(monitored.handle, nil, 0) }

    package func descriptorFired() { pair.descriptorFired() }
    package func isReady() -> Bool { pair.isReadable() }

    /// Reports everything that has happened so far.
    package func dispatch() {
        while let message = try? pair.receive() {
            guard let frame = message.frames.first, frame.count >= 6 else { continue }
            let (event, value) = frame.withUnsafeBytes {
                (Int32($0.loadUnaligned(as: UInt16.self)), $0.loadUnaligned(fromByteOffset: 2, as: Int32.self))
            }
            switch event {
            case ZMQ_EVENT_ACCEPTED, ZMQ_EVENT_CONNECTED: handler(.connected(value))
            case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: handler(.ready)
            case ZMQ_EVENT_DISCONNECTED: handler(.disconnected(value))
            default: handler(.handshakeFailed)
            }
        }
    }
}
