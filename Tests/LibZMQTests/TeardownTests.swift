import LibZMQ
import PosixLoop
import TestSupport
import Testing

/// The time limits only end a test that hangs.
@Suite(.timeLimit(.minutes(15))) struct TeardownTests {
    private struct Observed: Sendable {
        weak let context: Context?
    }

    @Test func unsentMessagesDoNotHoldTheContextUp() async throws {
        try await onLoop { _ in
            let dealer = try Socket(.dealer, in: Context())
            try dealer.connect(freshEndpoint())
            for _ in 0..<100 { _ = try dealer.send([bytes("nobody will read this")]) }
        }
    }

    @Test func lingeringMessagesHoldTheContextUpOnlyThatLong() async throws {
        try await onLoop { _ in
            let dealer = try Socket(.dealer, in: Context(), options: [.linger(.milliseconds(50))])
            try dealer.connect(freshEndpoint())
            _ = try dealer.send([bytes("nobody will read this")])
        }
    }

    @Test func aLingeringMessageIsStillDelivered() async throws {
        try await onLoop { _ in
            let router = try Socket(.router, in: Context())
            let endpoint = try router.bind("tcp://127.0.0.1:*")
            do {
                let dealer = try Socket(.dealer, in: Context(), options: [.linger(.seconds(60))])
                try dealer.connect(endpoint)
                let outcome = try dealer.send([bytes("last words")])
                #expect(outcome == .sent)
            }
            let message = try await router.next()
            #expect(message.frames.last.map(text) == "last words")
        }
    }

    @Test func openSocketsKeepTheirContext() async throws {
        try await onLoop { _ in
            var context: Context? = Context()
            let (router, dealer) = (try Socket(.router, in: context!), try Socket(.dealer, in: context!))
            context = nil
            try dealer.connect(try router.bind("tcp://127.0.0.1:*"))
            try await dealer.deliver([bytes("hello")])
            let message = try await router.next()
            #expect(message.frames.last.map(text) == "hello")
        }
    }

    @Test func `sockets monitors and sources of a stopped loop are let go`() async throws {
        let observed = try await onLoop { loop in
            let context = Context()
            let router = try Socket(.router, in: context)
            let endpoint = try router.bind("tcp://127.0.0.1:*")
            loop.add(try Monitor(router, name: "router") { _ in })
            loop.add(SocketSource(router) { _ in })
            let dealer = try Socket(.dealer, in: context)
            try dealer.connect(endpoint)
            loop.add(SocketSource(dealer) { _ in })
            for _ in 0..<100 { _ = try dealer.send([bytes("x")]) }
            return Observed(context: context)
        }
        try await eventually("the context is gone") { observed.context == nil }
    }

    @Test func contextsComeAndGoManyTimes() async throws {
        try await onLoop { _ in
            for _ in 0..<50 {
                let couple = try await Couple("inproc://couple")
                _ = try couple.dealer.send([bytes("unread")])
            }
        }
    }
}
