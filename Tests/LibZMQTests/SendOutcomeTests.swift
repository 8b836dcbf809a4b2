import LibZMQ
import PosixLoop
import TestSupport
import Testing

struct SendOutcomeTests {
    @Test func aMandatoryRouterTellsThatAPeerIsUnknown() async throws {
        try await onLoop { _ in
            let couple = try await Couple()
            let unknown = try couple.router.send([bytes("stranger"), bytes("a"), bytes("b")])
            #expect(unknown == .unreachable)
            // And nothing of that message is left to spoil the next.
            let known = try couple.router.send([bytes("dealer"), bytes("fine")])
            #expect(known == .sent)
            let message = try await couple.dealer.next()
            #expect(message.frames.map(text) == ["fine"])
        }
    }

    @Test func aRouterThatIsNotMandatoryDropsInSilence() async throws {
        try await onLoop { _ in
            let router = try Socket(.router, in: Context())
            let outcome = try router.send([bytes("stranger"), bytes("a")])
            #expect(outcome == .sent)
        }
    }

    @Test func aPeerThatHasGoneBecomesUnreachable() async throws {
        try await onLoop { _ in
            let context = Context()
            let router = try Socket(.router, in: context, options: [.routerMandatory(true)])
            let endpoint = try router.bind("tcp://127.0.0.1:*")
            do {
                let dealer = try Socket(.dealer, in: context, options: [.routingID(bytes("dealer"))])
                try dealer.connect(endpoint)
                try await dealer.deliver([bytes("hello")])
                _ = try await router.next()
            }
            try await eventually("the peer is gone") {
                try router.send([bytes("dealer"), bytes("still there?")]) == .unreachable
            }
        }
    }

    @Test func aDealerIsFullAtItsHighWaterMark() async throws {
        try await onLoop { _ in
            let context = Context()
            let endpoint = freshEndpoint()
            let dealer = try Socket(
                .dealer, in: context,
                options: [.sendHighWaterMark(5), .reconnect(first: .milliseconds(1), longest: .milliseconds(10))])
            try dealer.connect(endpoint)
            var outcomes: [SendOutcome] = []
            for number in 0..<7 { outcomes.append(try dealer.send([bytes("\(number)"), [], bytes("end")])) }
            #expect(outcomes == [.sent, .sent, .sent, .sent, .sent, .full, .full])
            #expect(!dealer.events().writable)
            // What was taken arrives whole, and what was refused not at all.
            let router = try Socket(.router, in: context)
            try router.bind(endpoint)
            for number in 0..<5 {
                let message = try await router.next()
                #expect(message.frames.dropFirst().map(text) == ["\(number)", "", "end"])
            }
            try await dealer.deliver([bytes("room again")])
            let message = try await router.next()
            #expect(message.frames.dropFirst().map(text) == ["room again"])
        }
    }

    @Test func `a mandatory router is full for one peer and not for another`() async throws {
        try await onLoop { _ in
            let couple = try await Couple(
                router: [.sendHighWaterMark(2)], dealer: [.receiveHighWaterMark(2)])
            let other = try Socket(.dealer, in: couple.context, options: [.routingID(bytes("other"))])
            try other.connect(couple.endpoint)
            try await other.deliver([bytes("hello")])
            _ = try await couple.router.next()

            let block = [UInt8](repeating: 7, count: 1 << 18)
            var sent = 0
            try await eventually("the queue is full") {
                guard try couple.router.send([bytes("dealer"), bytes("\(sent)"), block]) == .sent else { return true }
                sent += 1
                return false
            }
            let toOther = try couple.router.send([bytes("other"), bytes("yours")])
            #expect(toOther == .sent)
            let forOther = try await other.next()
            #expect(forOther.frames.map(text) == ["yours"])

            for number in 0..<sent {
                let message = try await couple.dealer.next()
                #expect(message.frames == [bytes("\(number)"), block])
            }
            try await couple.router.deliver([bytes("dealer"), bytes("room again")])
            let message = try await couple.dealer.next()
            #expect(message.frames.map(text) == ["room again"])
        }
    }

    @Test func anImmediateDealerIsFullWithoutAPeer() async throws {
        try await onLoop { _ in
            let dealer = try Socket(.dealer, in: Context(), options: [.immediate(true)])
            try dealer.connect(freshEndpoint())
            let outcome = try dealer.send([bytes("for nobody")])
            #expect(outcome == .full)
        }
    }

    @Test func anUnconnectedDealerIsFull() async throws {
        try await onLoop { _ in
            let dealer = try Socket(.dealer, in: Context())
            let outcome = try dealer.send([bytes("for nobody")])
            #expect(outcome == .full)
            let nothing = try dealer.receive()
            #expect(nothing == nil)
        }
    }

    @Test func sendingOnASocketThatOnlyReceivesIsAnError() async throws {
        try await onLoop { _ in
            let subscriber = try Socket(.sub, in: Context())
            #expect(throws: ZeroMQError.self) { try subscriber.send([bytes("news")]) }
            let publisher = try Socket(.pub, in: Context())
            #expect(throws: ZeroMQError.self) { try publisher.receive() }
        }
    }

    @Test func aMessageAboveTheLimitEndsTheConnection() async throws {
        try await onLoop { loop in
            let couple = try await Couple(
                router: [.maxMessageSize(1000), .routerHandover(true)],
                dealer: [.reconnect(first: .milliseconds(1), longest: .milliseconds(10))])
            let ended = Log<Monitor.Event>()
            let monitor = try Monitor(couple.router, name: "limit") { ended.add($0) }
            loop.add(monitor)
            try await couple.dealer.deliver([[UInt8](repeating: 1, count: 1000)])
            let fits = try await couple.router.next()
            #expect(fits.frames.last?.count == 1000)
            try await couple.dealer.deliver([[UInt8](repeating: 1, count: 1001)])
            try await eventually("the connection is ended") {
                ended.entries.contains(.disconnected(fits.connection))
            }
            let nothing = try couple.router.receive()
            #expect(nothing == nil)
            // The dealer comes back by itself, without the message. It may do so before the router has let its old
            // connection go, hence the handover.
            try await eventually("a message of the new connection") {
                _ = try couple.dealer.send([bytes("small")])
                return try couple.router.receive().flatMap { $0.frames.last == bytes("small") ? $0 : nil }
            }
            loop.remove(monitor)
        }
    }
}
