import LibZMQ
import TestSupport
import Testing

struct PublishTests {
    /// Sends until the subscriber gets it: a PUB socket does not tell when a subscription has arrived.
    private static func awaitSubscription(_ publisher: Socket, _ subscriber: Socket, topic: String) async throws {
        try await eventually("the subscription works") {
            _ = try publisher.send([bytes(topic), bytes("probe")])
            return try subscriber.receive()
        }
    }

    /// The next message that is no probe.
    private static func nextNews(_ subscriber: Socket) async throws -> [String] {
        while true {
            let frames = try await subscriber.next().frames.map(text)
            if frames.last != "probe" { return frames }
        }
    }

    @Test(arguments: ["tcp://127.0.0.1:*", "ipc"])
    func aSubscriberGetsWhatItHasSubscribedTo(transport: String) async throws {
        try await onLoop { _ in
            let context = Context()
            let publisher = try Socket(.pub, in: context)
            let endpoint = try publisher.bind(transport == "ipc" ? freshEndpoint() : transport)
            let subscriber = try Socket(.sub, in: context, options: [.subscribe(bytes("A")), .subscribe(bytes("BB"))])
            try subscriber.connect(endpoint)
            try await Self.awaitSubscription(publisher, subscriber, topic: "BB")
            for topic in ["A", "B", "AX", "BB", "C", "BBB", "end of A", "A end"] {
                let outcome = try publisher.send([bytes(topic), bytes("news")])
                #expect(outcome == .sent)
            }
            var topics: [String] = []
            while topics.last != "A end" { topics.append(try await Self.nextNews(subscriber)[0]) }
            #expect(topics == ["A", "AX", "BB", "BBB", "A end"])
        }
    }

    @Test func anXPubHearsOfSubscriptions() async throws {
        try await onLoop { _ in
            let context = Context()
            let publisher = try Socket(.xpub, in: context)
            let subscriber = try Socket(.sub, in: context)
            try subscriber.connect(try publisher.bind("tcp://127.0.0.1:*"))
            try subscriber.set(.subscribe(bytes("topic")))
            let subscribed = try await publisher.next()
            #expect(subscribed.frames == [[1] + bytes("topic")])
            // The subscription is known, so this one cannot be missed.
            let outcome = try publisher.send([bytes("topic"), bytes("news")])
            #expect(outcome == .sent)
            let news = try await subscriber.next()
            #expect(news.frames.map(text) == ["topic", "news"])
            try subscriber.set(.unsubscribe(bytes("topic")))
            let unsubscribed = try await publisher.next()
            #expect(unsubscribed.frames == [[0] + bytes("topic")])
        }
    }

    @Test func aSubscriberThatGoesIsUnsubscribed() async throws {
        try await onLoop { _ in
            let context = Context()
            let publisher = try Socket(.xpub, in: context)
            let endpoint = try publisher.bind("tcp://127.0.0.1:*")
            do {
                let subscriber = try Socket(.sub, in: context, options: [.subscribe([])])
                try subscriber.connect(endpoint)
                let subscribed = try await publisher.next()
                #expect(subscribed.frames == [[1]])
            }
            let unsubscribed = try await publisher.next()
            #expect(unsubscribed.frames == [[0]])
        }
    }

    @Test func publishingWithoutSubscribersIsNoFailure() async throws {
        try await onLoop { _ in
            let publisher = try Socket(.pub, in: Context(), options: [.sendHighWaterMark(1)])
            try publisher.bind("tcp://127.0.0.1:*")
            for _ in 0..<100 {
                let outcome = try publisher.send([bytes("topic"), bytes("news")])
                #expect(outcome == .sent)
            }
        }
    }

    @Test func everySubscriberGetsItsOwnCopyInOrder() async throws {
        try await onLoop { _ in
            let context = Context()
            let publisher = try Socket(.xpub, in: context, options: [.sendHighWaterMark(0)])
            let endpoint = try publisher.bind("tcp://127.0.0.1:*")
            let subscribers = try (0..<5).map { number in
                let subscriber = try Socket(
                    .sub, in: context, options: [.receiveHighWaterMark(0), .subscribe(bytes("\(number)")), .subscribe([])])
                try subscriber.connect(endpoint)
                return subscriber
            }
            // Five topics of their own, and once the one for everything: XPUB passes on only new topics.
            for _ in 0..<6 { _ = try await publisher.next() }
            for subscriber in subscribers {
                try await Self.awaitSubscription(publisher, subscriber, topic: "x")
            }
            for number in 0..<1000 { _ = try publisher.send([bytes("news"), bytes("\(number)")]) }
            for subscriber in subscribers {
                for number in 0..<1000 {
                    let news = try await Self.nextNews(subscriber)
                    #expect(news == ["news", "\(number)"])
                }
            }
        }
    }
}
