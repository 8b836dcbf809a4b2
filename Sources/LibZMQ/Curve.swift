import CZeroMQ
import Glibc

/// Makes key pairs for CURVE (ZeroMQ RFC 26).
package enum Curve {
    /// Whether this libzmq can do it.
    package static var isAvailable: Bool { zmq_has("curve") == 1 }

    /// A new key pair, each of 32 bytes.
    package static func newKeyPair() throws(ZeroMQError) -> (publicKey: [UInt8], secretKey: [UInt8]) {
        var (publicText, secretText) = ([CChar](repeating: 0, count: 41), [CChar](repeating: 0, count: 41))
        guard zmq_curve_keypair(&publicText, &secretText) == 0 else { throw ZeroMQError("making a key pair") }
        var (publicKey, secretKey) = ([UInt8](repeating: 0, count: 32), [UInt8](repeating: 0, count: 32))
        guard zmq_z85_decode(&publicKey, &publicText) != nil, zmq_z85_decode(&secretKey, &secretText) != nil else {
            throw ZeroMQError("reading a key pair")
        }
        return (publicKey, secretKey)
    }
}

/// Decides who may connect to the sockets of a context (ZAP, ZeroMQ RFC 27), and gives each a name.
///
/// Bind it before them and let it live as long: without it nobody is admitted.
package final class Authenticator {
    package struct Candidate: Sendable {
        /// The socket's, as ``Socket/Option/authenticated(domain:)`` named it.
        package let domain: String
        package let address: String
        /// The key it has proved to have, 32 bytes; nil where none is asked for.
        package let publicKey: [UInt8]?
    }

    package let source: SocketSource

    /// - Parameter decide: is to call back, once, soon or later: with the name that the peer's messages carry from now on
    ///   (``Message/user``), or nil to turn it away.
    package init(
        in context: Context, decide: @escaping (Candidate, _ answer: @escaping (String?) -> Void) -> Void
    ) throws(ZeroMQError) {
        let socket = try Socket(.router, in: context, options: [.sendHighWaterMark(0), .receiveHighWaterMark(0)])
        try socket.bind("inproc://zeromq.zap.01")
        source = SocketSource(socket) { [unowned socket] in Authenticator.answer($0, over: socket, decide: decide) }
    }

    /// Frames: the asking session, an empty one, version, request id, domain, address, identity, mechanism, credentials.
    private static func answer(
        _ message: Message, over socket: Socket, decide: (Candidate, _ answer: @escaping (String?) -> Void) -> Void
    ) {
        let frames = message.frames
        guard frames.count >= 8 else { return }
        let answer: (String?) -> Void = { [weak socket] user in
            let (status, reason) = user == nil ? ("400", "not authorized") : ("200", "OK")
            _ = try? socket?.send([
                frames[0], frames[1], frames[2], frames[3], Array(status.utf8), Array(reason.utf8), Array((user ?? "").utf8), [],
            ])
        }
        func text(_ frame: [UInt8]) -> String { String(decoding: frame, as: UTF8.self) }
        let isKeyed = text(frames[7]) == "CURVE" && frames.count == 9 && frames[8].count == 32
        guard text(frames[2]) == "1.0", isKeyed || text(frames[7]) == "NULL" else { return answer(nil) }
        decide(
            Candidate(domain: text(frames[4]), address: text(frames[5]), publicKey: isKeyed ? frames[8] : nil), answer)
    }
}

/// What a subscriber asks of an XPUB socket, or something else it sent.
package struct SubscriptionRequest: Sendable {
    package enum Kind: Sendable, Hashable {
        case subscribe([UInt8])
        case unsubscribe([UInt8])
        /// A frame that is neither.
        case other
    }
    package let kind: Kind
    package let connection: Int32
    package let user: String?
}

extension Socket {
    /// The next thing subscribers sent to an XPUB socket, or nil if there is none now. Each frame comes by itself.
    package func receiveSubscription() throws(ZeroMQError) -> SubscriptionRequest? {
        mayHaveChanged = true
        var part = zmq_msg_t()
        while true {
            zmq_msg_init(&part)
            defer { zmq_msg_close(&part) }
            let size = zmq_msg_recv(&part, handle, ZMQ_DONTWAIT)
            guard size >= 0 else {
                let error = ZeroMQError("receiving")
                if error.number == EINTR { continue }
                if error.number == EAGAIN { return nil }
                throw error
            }
            let bytes = [UInt8](UnsafeRawBufferPointer(start: zmq_msg_data(&part), count: Int(size)))
            let kind: SubscriptionRequest.Kind =
                switch bytes.first {
                case 1 where zmq_msg_more(&part) == 0: .subscribe(Array(bytes.dropFirst()))
                case 0 where zmq_msg_more(&part) == 0: .unsubscribe(Array(bytes.dropFirst()))
                default: .other
                }
            // What libzmq reports of a subscriber that is gone has neither.
            return SubscriptionRequest(
                kind: kind, connection: zmq_msg_get(&part, ZMQ_SRCFD),
                user: isAuthenticated ? zmq_msg_gets(&part, "User-Id").map { String(cString: $0) } : nil)
        }
    }
}
