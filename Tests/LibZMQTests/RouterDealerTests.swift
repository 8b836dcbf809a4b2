import LibZMQ
import TestSupport
import Testing

struct RouterDealerTests {
    @Test(arguments: ["tcp://127.0.0.1:*", "ipc", "inproc://couple"])
    func messagesGoBothWaysInOrder(transport: String) async throws {
        try await onLoop { _ in
            let couple = try await Couple(transport == "ipc" ? freshEndpoint() : transport)
            for number in 0..<500 {
                try await couple.dealer.deliver([bytes("request \(number)")])
                try await couple.router.deliver([bytes("dealer"), bytes("reply \(number)")])
            }
            for number in 0..<500 {
                let request = try await couple.router.next()
                #expect(request.frames.map(text) == ["dealer", "request \(number)"])
                let reply = try await couple.dealer.next()
                #expect(reply.frames.map(text) == ["reply \(number)"])
            }
            let nothing = try couple.router.receive()
            #expect(nothing == nil)
        }
    }

    @Test func framesKeepTheirBordersEvenEmptyOnes() async throws {
        try await onLoop { _ in
            let couple = try await Couple()
            let messages: [[[UInt8]]] = [
                [[]], [[], []], [bytes("a"), [], bytes("b")], [[], bytes("x")], [[0], [255], [0, 0]],
                (0..<15).map { [UInt8]($0..<15) },
            ]
            for frames in messages { try await couple.dealer.deliver(frames) }
            for frames in messages {
                let message = try await couple.router.next()
                #expect(message.frames == [bytes("dealer")] + frames)
                try await couple.router.deliver(message.frames)
            }
            for frames in messages {
                let message = try await couple.dealer.next()
                #expect(message.frames == frames)
            }
        }
    }

    @Test func `frames beyond the limit are dropped and the next message is whole`() async throws {
        try await onLoop { _ in
            let couple = try await Couple()
            try await couple.dealer.deliver((0..<100).map { bytes("\($0)") })
            try await couple.dealer.deliver([bytes("next")])
            let first = try await eventually("a message") { try couple.router.receive(maxFrames: 3) }
            #expect(first.frames.map(text) == ["dealer", "0", "1"])
            let second = try await couple.router.next()
            #expect(second.frames.map(text) == ["dealer", "next"])
        }
    }

    @Test(arguments: ["tcp://127.0.0.1:*", "ipc"])
    func eightMebibytesArriveUnchanged(transport: String) async throws {
        try await onLoop { _ in
            let couple = try await Couple(transport == "ipc" ? freshEndpoint() : transport)
            let large = (0..<(8 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 13) }
            try await couple.dealer.deliver([large, bytes("and a small one")])
            let request = try await couple.router.next()
            #expect(request.frames.count == 3)
            #expect(request.frames[1] == large)
            try await couple.router.deliver([bytes("dealer"), large])
            let reply = try await couple.dealer.next()
            #expect(reply.frames == [large])
        }
    }

    @Test func aRouterTellsItsPeersApart() async throws {
        try await onLoop { _ in
            let context = Context()
            let router = try Socket(.router, in: context, options: [.routerMandatory(true)])
            let endpoint = try router.bind("tcp://127.0.0.1:*")
            let dealers = try (0..<20).map { number in
                let dealer = try Socket(.dealer, in: context, options: [.routingID(bytes("dealer \(number)"))])
                try dealer.connect(endpoint)
                return dealer
            }
            for (number, dealer) in dealers.enumerated() { try await dealer.deliver([bytes("\(number)")]) }
            for _ in dealers {
                let request = try await router.next()
                #expect(text(request.frames[0]) == "dealer \(text(request.frames[1]))")
                try await router.deliver([request.frames[0], bytes("for \(text(request.frames[1]))")])
            }
            for (number, dealer) in dealers.enumerated() {
                let reply = try await dealer.next()
                #expect(reply.frames.map(text) == ["for \(number)"])
            }
        }
    }

    @Test func withoutARoutingIDARouterMakesOneUp() async throws {
        try await onLoop { _ in
            let context = Context()
            let router = try Socket(.router, in: context, options: [.routerMandatory(true)])
            let dealer = try Socket(.dealer, in: context)
            try dealer.connect(try router.bind("tcp://127.0.0.1:*"))
            try await dealer.deliver([bytes("who am I")])
            let request = try await router.next()
            #expect(request.frames[0].first == 0)
            try await router.deliver([request.frames[0], bytes("you")])
            let reply = try await dealer.next()
            #expect(reply.frames.map(text) == ["you"])
        }
    }

    @Test func aNewConnectionTakesOverAKnownRoutingID() async throws {
        try await onLoop { _ in
            let couple = try await Couple(router: [.routerHandover(true)])
            let successor = try Socket(.dealer, in: couple.context, options: [.routingID(bytes("dealer"))])
            try successor.connect(couple.endpoint)
            try await successor.deliver([bytes("it is me now")])
            let request = try await couple.router.next()
            #expect(request.frames.map(text) == ["dealer", "it is me now"])
            try await couple.router.deliver([bytes("dealer"), bytes("welcome")])
            let reply = try await successor.next()
            #expect(reply.frames.map(text) == ["welcome"])
        }
    }

    @Test func aDealerMayConnectBeforeTheRouterIsBound() async throws {
        try await onLoop { _ in
            let context = Context()
            let endpoint = freshEndpoint()
            let dealer = try Socket(
                .dealer, in: context, options: [.reconnect(first: .milliseconds(1), longest: .milliseconds(10))])
            try dealer.connect(endpoint)
            let outcome = try dealer.send([bytes("early")])
            #expect(outcome == .sent)
            let router = try Socket(.router, in: context)
            try router.bind(endpoint)
            let request = try await router.next()
            #expect(request.frames.last.map(text) == "early")
        }
    }

    @Test func aDealerFindsARouterThatCameBack() async throws {
        try await onLoop { _ in
            let context = Context()
            let endpoint = freshEndpoint()
            let dealer = try Socket(
                .dealer, in: context,
                options: [.immediate(true), .reconnect(first: .milliseconds(1), longest: .milliseconds(10))])
            try dealer.connect(endpoint)
            for round in 0..<3 {
                let router = try Socket(.router, in: context)
                // The name is free once the router before has been closed in the background.
                try await eventually("the router is bound") { (try? router.bind(endpoint)) != nil }
                let request = try await eventually("a request") {
                    _ = try dealer.send([bytes("round \(round)")])
                    return try router.receive()
                }
                #expect(request.frames.last.map(text) == "round \(round)")
            }
        }
    }
}
