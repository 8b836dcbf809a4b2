import EventStream
import LibZMQ
import PosixLoop
import TestSupport

/// A plain subscriber, as any language's ZeroMQ binding makes one.
actor Subscriber {
    nonisolated let loop = EventLoop()
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private let endpoint: String
    private var source: SocketSource?
    private(set) var events: [Event] = []

    init(_ endpoint: String) { self.endpoint = endpoint }

    var ids: [EventID] { events.map(\.id) }
    var count: Int { events.count }
    var first: EventID { events.first?.id ?? .none }

    /// Records probes until one arrives.
    func waitUntilSubscribed(_ probe: @Sendable () async throws -> Void) async throws {
        let socket = try Socket(.sub, in: Context(), options: [.receiveHighWaterMark(0), .subscribe([])])
        try socket.connect(endpoint)
        let source = SocketSource(socket) { [weak self] message in
            let event = try? Event(decoding: RawJSON(validating: message.frames[1]))
            self?.assumeIsolated { if let event { $0.events.append(event) } }
        }
        self.source = source
        loop.add(source)
        while events.isEmpty {
            try await probe()
            try? await eventually("a probe", within: .milliseconds(500)) { !events.isEmpty }
        }
    }

    func close() {
        if let source { loop.remove(source) }
        source = nil
    }
}
