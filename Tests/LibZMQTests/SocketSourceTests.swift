import LibZMQ
import PosixLoop
import Synchronization
import TestSupport
import Testing

struct SocketSourceTests {
    /// ZMQ_FD is edge-triggered: a loop that trusted it would leave the rest of a burst unread.
    @Test(arguments: [1, 7, 64])
    func nothingIsLeftUnreadAfterBursts(perTurn: Int) async throws {
        let context = Context()
        let endpoint = freshEndpoint()
        let received = Mutex<[Int]>([])
        let server = LoopActor()
        defer { server.loop.stop() }
        try await server.run { loop in
            let router = try Socket(.router, in: context, options: [.receiveHighWaterMark(0)])
            try router.bind(endpoint)
            loop.add(
                SocketSource(router, perTurn: perTurn) { message in
                    received.withLock { $0.append(Int(text(message.frames[1])) ?? -1) }
                })
        }
        try await onLoop { _ in
            let dealer = try Socket(.dealer, in: context, options: [.sendHighWaterMark(0)])
            try dealer.connect(endpoint)
            var sent = 0
            for burst in 0..<200 {
                for _ in 0..<(burst % 90 + 1) {
                    try await dealer.deliver([bytes("\(sent)")])
                    sent += 1
                }
                // Silence follows each burst, so whatever is left now would stay.
                try await eventually("burst \(burst) has arrived") { received.withLock { $0.count } == sent }
            }
            #expect(received.withLock { $0 } == Array(0..<sent))
        }
    }

    /// Sending looks at the socket's state too, and so takes the edges away from whoever waits for messages.
    @Test func `sending from the handler and from timers loses no message`() async throws {
        let context = Context()
        let endpoint = freshEndpoint()
        let server = LoopActor()
        defer { server.loop.stop() }
        try await server.run { loop in
            let router = try Socket(.router, in: context, options: [.routerMandatory(true)])
            try router.bind(endpoint)
            let peers = Log<[UInt8]>()
            loop.add(
                SocketSource(router, perTurn: 3) { message in
                    if peers.count == 0 { peers.add(message.frames[0]) }
                    _ = try? router.send(message.frames)
                })
            func noise() {
                if let peer = peers.entries.first { _ = try? router.send([peer, bytes("noise")]) }
                loop.schedule(after: .microseconds(200)) { noise() }
            }
            noise()
        }
        try await onLoop { loop in
            let dealer = try Socket(.dealer, in: context)
            try dealer.connect(endpoint)
            let echoes = Log<String>()
            let source = SocketSource(dealer) { message in
                let echo = message.frames.map(text).joined()
                if echo != "noise" { echoes.add(echo) }
            }
            loop.add(source)
            var sent: [String] = []
            for burst in 0..<200 {
                for _ in 0..<(burst % 40 + 1) {
                    sent.append("\(sent.count)")
                    try await dealer.deliver([bytes(sent[sent.count - 1])])
                }
                try await eventually("all echoes of burst \(burst) are back") { echoes.count == sent.count }
            }
            #expect(echoes.entries == sent)
            loop.remove(source)
        }
    }

    @Test func aBusySocketLeavesTurnsForOthers() async throws {
        try await onLoop { loop in
            let couple = try await Couple()
            for number in 0..<500 { try await couple.dealer.deliver([bytes("\(number)")]) }
            let order = Log<String>()
            let source = SocketSource(couple.router, perTurn: 1) { message in
                if order.count == 0 { loop.schedule(after: .zero) { order.add("timer") } }
                order.add(message.frames.last.map(text) ?? "")
            }
            loop.add(source)
            try await eventually("all are received") { order.count == 501 }
            #expect(order.entries.last != "timer")
            #expect(order.entries.filter { $0 != "timer" } == (0..<500).map { "\($0)" })
            loop.remove(source)
        }
    }

    @Test func manySocketsShareOneLoop() async throws {
        try await onLoop { loop in
            let context = Context()
            let arrivals = Log<String>()
            var sources: [SocketSource] = []
            var dealers: [Socket] = []
            for number in 0..<20 {
                let router = try Socket(.router, in: context)
                let dealer = try Socket(.dealer, in: context)
                try dealer.connect(try router.bind(freshEndpoint()))
                let source = SocketSource(router) { message in
                    arrivals.add("\(number): \(message.frames.last.map(text) ?? "")")
                }
                loop.add(source)
                sources.append(source)
                dealers.append(dealer)
            }
            for round in 0..<50 {
                for dealer in dealers { try await dealer.deliver([bytes("\(round)")]) }
            }
            try await eventually("all have arrived") { arrivals.count == 1000 }
            #expect(Set(arrivals.entries).count == 1000)
            for source in sources { loop.remove(source) }
        }
    }
}
