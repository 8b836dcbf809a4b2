import LibZMQ
import PosixLoop
import Testing

/// Runs `body` on the thread of an event loop of its own: a socket belongs to one thread.
func onLoop<Value: Sendable>(
    _ body: nonisolated(nonsending) @Sendable (EventLoop) async throws -> Value
) async throws -> Value {
    let home = LoopActor()
    defer { home.loop.stop() }
    return try await home.run(body)
}

struct NotInTime: Error, CustomStringConvertible {
    let description: String
}

/// Waits until `condition` gives a value. The deadline is generous: it only ends a test that has failed.
@discardableResult
func waiting<Value>(for what: String, _ condition: () throws -> Value?) async throws -> Value {
    let end = ContinuousClock.now + .seconds(240)
    while true {
        // A machine that is too busy to ask in time gets a last answer.
        let isLate = ContinuousClock.now >= end
        if let value = try condition() { return value }
        guard !isLate else { throw NotInTime(description: "\(what): not within four minutes") }
        try await Task.sleep(for: .milliseconds(1))
    }
}

func waiting(until what: String, _ condition: () throws -> Bool) async throws {
    try await waiting(for: what) { try condition() ? true : nil }
}

/// What callbacks report, in order.
final class Log<Entry> {
    private(set) var entries: [Entry] = []
    var count: Int { entries.count }
    func add(_ entry: Entry) { entries.append(entry) }
}

/// An endpoint nobody else uses; an abstract name, which leaves no file behind (unix(7)).
func freshEndpoint() -> String { "ipc://@zmq-test-\(UInt64.random(in: 0...UInt64.max))" }

func text(_ frame: [UInt8]) -> String { String(decoding: frame, as: UTF8.self) }
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

extension Socket {
    /// The next message; waits for it.
    func next() async throws -> Message { try await waiting(for: "a message") { try receive() } }

    /// Sends once there is room and a peer.
    func deliver(_ frames: [[UInt8]]) async throws {
        try await waiting(until: "the message is taken") { try send(frames) == .sent }
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
