import Dispatch
import EventStream
import EventStreamClient
import LibZMQ
import PosixLoop
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(15))) struct ClientConnectionTests {
    /// Answers every call with true.
    private final class Server {
        private(set) var connections = 0
        private var sources: [any PollSource] = []
        private let loop: EventLoop

        init(_ endpoint: String, on loop: EventLoop) throws {
            self.loop = loop
            let socket = try Socket(.router, in: Context())
            let monitor = try Monitor(socket, name: "server") { [weak self] in if case .ready = $0 { self?.connections += 1 } }
            try socket.bind(endpoint)
            let source = SocketSource(socket) { message in
                guard case .request(let request) = try? WireMessage(decoding: message.frames[1]) else { return }
                let answer = WireMessage.Response(outcome: .success(RawJSON(unchecked: Array("true".utf8))), rid: request.rid)
                _ = try? socket.send([message.frames[0], answer.encoded()])
            }
            sources = [monitor, source]
            for source in sources { loop.add(source) }
        }

        func close() {
            for source in sources { loop.remove(source) }
            sources = []
        }
    }

    /// A stopped process, or a suspended machine: what libzmq did meanwhile is all reported at once.
    @Test func aServerThatCameBackWhileTheClientStoodStillIsFoundAgain() async throws {
        let (endpoint, nobody) = (freshEndpoint(), freshEndpoint())
        let clients = EventLoop()
        defer { clients.stop() }
        let client = try await GeneratorClient([endpoint, nobody], timeout: .seconds(5), loop: clients)
        let home = LoopActor()
        defer { home.loop.stop() }
        try await home.run { loop in
            let first = try Server(endpoint, on: loop)
            try await client.ping()
            let goOn = DispatchSemaphore(value: 0)
            await withCheckedContinuation { standsStill in
                clients.execute {
                    standsStill.resume()
                    goOn.wait()
                }
            }
            first.close()
            let second = try await eventually("the endpoint is free") { try? Server(endpoint, on: loop) }
            try await eventually("libzmq has connected again") { second.connections > 0 }
            goOn.signal()
            try await eventually("the client reaches the server") { (try? await client.ping()) != nil }
            second.close()
        }
    }

    private func freshEndpoint() -> String { "ipc://@evt-test-\(UInt64.random(in: 0...UInt64.max))" }
}
