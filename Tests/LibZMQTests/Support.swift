import LibZMQ
import PosixLoop
import TestSupport
import Testing

/// An endpoint nobody else uses; an abstract name, which leaves no file behind (unix(7)).
func freshEndpoint() -> String { "ipc://@zmq-test-\(UInt64.random(in: 0...UInt64.max))" }

func text(_ frame: [UInt8]) -> String { String(decoding: frame, as: UTF8.self) }
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

extension Socket {
    /// The next message; waits for it.
    func next() async throws -> Message { try await eventually("a message") { try receive() } }

    /// Sends once there is room and a peer.
    func deliver(_ frames: [[UInt8]]) async throws {
        try await eventually("the message is taken") { try send(frames) == .sent }
    }
}

/// A ROUTER and a DEALER that know each other.
struct Couple {
    let context = Context()
    let router: Socket
    let dealer: Socket
    let endpoint: String

    init(
        _ endpoint: String = "tcp://127.0.0.1:*", router routerOptions: [Socket.Option] = [],
        dealer dealerOptions: [Socket.Option] = []
    ) async throws {
        router = try Socket(.router, in: context, options: [.routerMandatory(true)] + routerOptions)
        self.endpoint = try router.bind(endpoint)
        dealer = try Socket(.dealer, in: context, options: [.routingID(bytes("dealer"))] + dealerOptions)
        try dealer.connect(self.endpoint)
        try await dealer.deliver([bytes("hello")])
        let hello = try await router.next()
        #expect(hello.frames.map(text) == ["dealer", "hello"])
    }
}
