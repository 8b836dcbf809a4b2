import CZeroMQ
import Glibc

/// A message received: its frames, and which connection it came by.
package struct Message: Sendable {
    package var frames: [[UInt8]]
    /// The descriptor of the peer's connection, as the socket's monitor names it; -1 where unknown.
    package var connection: Int32
    /// Bytes it had on the wire: a frame has 2 or 9 besides its contents (ZMTP 3.1, RFC 37), and 33 with keys (CURVE, RFC 26). The
    /// routing id was not there.
    package func wireSize(isKeyed: Bool) -> Int {
        let box = isKeyed ? 33 : 0
        return frames.dropFirst().reduce(0) { $0 + $1.count + box + ($1.count + box < 256 ? 2 : 9) }
    }
    /// What the ``Authenticator`` calls the peer; nil where there is none.
    package var user: String?

    package init(frames: [[UInt8]], connection: Int32 = -1, user: String? = nil) {
        self.frames = frames
        self.connection = connection
        self.user = user
    }
}

/// What became of a message.
package enum SendOutcome: Sendable {
    case sent
    /// The peer's queue is full: try again later.
    case full
    /// A ROUTER has no such peer (any more).
    case unreachable
}

extension Socket {
    /// The next message, or nil if there is none now.
    ///
    /// - Parameter maxFrames: further frames of one message are read and dropped; at least 1.
    package func receive(maxFrames: Int = 16) throws(ZeroMQError) -> Message? {
        mayHaveChanged = true
        var message = Message(frames: [])
        var part = zmq_msg_t()
        while true {
            zmq_msg_init(&part)
            let size = zmq_msg_recv(&part, handle, ZMQ_DONTWAIT)
            guard size >= 0 else {
                let error = ZeroMQError("receiving")
                zmq_msg_close(&part)
                if error.number == EINTR { continue }
                if error.number == EAGAIN { return nil }
                throw error
            }
            if message.frames.count < maxFrames {
                message.frames.append(
                    [UInt8](UnsafeRawBufferPointer(start: zmq_msg_data(&part), count: Int(size))))
            }
            let more = zmq_msg_more(&part) != 0
            if !more {
                message.connection = zmq_msg_get(&part, ZMQ_SRCFD)
                if isAuthenticated { message.user = zmq_msg_gets(&part, "User-Id").map { String(cString: $0) } }
            }
            zmq_msg_close(&part)
            if !more { return message }
        }
    }

    /// Sends all frames or none.
    ///
    /// - Parameters:
    ///   - gauges: count the last frame for as long as libzmq has it.
    ///   - overhead: bytes to be counted besides the frame's own.
    package func send(
        _ frames: [[UInt8]], gauges: [ByteGauge] = [], overhead: Int = 0
    ) throws(ZeroMQError) -> SendOutcome {
        mayHaveChanged = true
        for (index, frame) in frames.enumerated() {
            let isLast = index == frames.count - 1
            let flags = ZMQ_DONTWAIT | (isLast ? 0 : ZMQ_SNDMORE)
            let status: Int32
            if isLast, !gauges.isEmpty, !frame.isEmpty {
                status = send(frame, flags, GaugedPayload(frame.count + overhead, gauges))
            } else {
                status = send(frame, flags)
            }
            guard status < 0 else { continue }
            let error = ZeroMQError("sending")
            // Only the first frame can be refused: libzmq takes a message whole.
            switch error.number {
            case EAGAIN: return .full
            case EHOSTUNREACH: return .unreachable
            default: throw error
            }
        }
        return .sent
    }

    private func send(_ frame: [UInt8], _ flags: Int32) -> Int32 {
        var status: Int32
        repeat {
            status = frame.withUnsafeBytes { zmq_send(handle, $0.baseAddress, $0.count, flags) }
        } while status < 0 && zmq_errno() == EINTR
        return status
    }

    private func send(_ frame: [UInt8], _ flags: Int32, _ payload: GaugedPayload) -> Int32 {
        guard let copy = malloc(frame.count) else { return -1 }
        frame.withUnsafeBytes { copy.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        var message = zmq_msg_t()
        // Called by libzmq, on any thread, when the last reference to the data is gone (zmq_msg_init_data(3)).
        zmq_msg_init_data(
            &message, copy, frame.count,
            { data, payload in
                free(data)
                Unmanaged<GaugedPayload>.fromOpaque(payload!).release()
            }, Unmanaged.passRetained(payload).toOpaque())
        var status: Int32
        repeat { status = zmq_msg_send(&message, handle, flags) } while status < 0 && zmq_errno() == EINTR
        if status < 0 {
            let number = errno
            zmq_msg_close(&message)
            errno = number
        }
        return status
    }
}
