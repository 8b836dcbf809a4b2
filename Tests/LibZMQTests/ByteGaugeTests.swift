import LibZMQ
import PosixLoop
import TestSupport
import Testing

struct ByteGaugeTests {
    private let megabyte = [UInt8](repeating: 7, count: 1 << 20)

    @Test func aMessageCountsUntilItIsOnItsWay() async throws {
        try await onLoop { _ in
            let couple = try await Couple()
            let (total, part) = (ByteGauge(), ByteGauge())
            #expect(try couple.router.send([bytes("dealer"), megabyte], gauges: [total, part]) == .sent)
            let message = try await couple.dealer.next()
            #expect(message.frames == [megabyte])
            try await eventually("it is counted no more") { total.bytes == 0 && part.bytes == 0 }
        }
    }

    @Test func whatAPeerDoesNotTakeIsCounted() async throws {
        try await onLoop { _ in
            let couple = try await Couple(dealer: [.receiveHighWaterMark(1)])
            let (total, part) = (ByteGauge(), ByteGauge())
            for _ in 0..<64 { #expect(try couple.router.send([bytes("dealer"), megabyte], gauges: [total, part]) == .sent) }
            #expect(total.bytes > 16 << 20)
            #expect(part.bytes > 0)
            for _ in 0..<64 { _ = try await couple.dealer.next() }
            try await eventually("nothing is counted any more") { total.bytes == 0 && part.bytes == 0 }
        }
    }

    @Test func aRefusedMessageDoesNotCount() async throws {
        try await onLoop { _ in
            let couple = try await Couple()
            let gauge = ByteGauge()
            #expect(try couple.router.send([bytes("stranger"), megabyte], gauges: [gauge]) == .unreachable)
            #expect(gauge.bytes == 0)
        }
    }

    @Test func severalSubscribersWaitForTheSameBytes() async throws {
        try await onLoop { _ in
            let context = Context()
            let publisher = try Socket(.xpub, in: context, options: [.sendHighWaterMark(1000)])
            let endpoint = try publisher.bind("tcp://127.0.0.1:*")
            let subscribers = try (0..<3).map { _ in
                let subscriber = try Socket(.sub, in: context, options: [.receiveHighWaterMark(1), .subscribe([])])
                try subscriber.connect(endpoint)
                return subscriber
            }
            for subscriber in subscribers {
                try await eventually("a subscription") {
                    _ = try publisher.send([bytes("T"), bytes("probe")])
                    return try subscriber.receive() != nil
                }
            }
            let gauge = ByteGauge()
            for _ in 0..<32 { _ = try publisher.send([bytes("T"), megabyte], gauges: [gauge]) }
            #expect(gauge.bytes <= 32 << 20)
            for subscriber in subscribers {
                var large = 0
                while large < 32 { if try await subscriber.next().frames[1].count > 5 { large += 1 } }
            }
            try await eventually("nothing is counted any more") { gauge.bytes == 0 }
        }
    }

    @Test func cuttingAConnectionLetsGoOfWhatWaitsForIt() async throws {
        try await onLoop { loop in
            let context = Context()
            let publisher = try Socket(.xpub, in: context, options: [.sendHighWaterMark(1000)])
            let log = Log<Monitor.Event>()
            let monitor = try Monitor(publisher, name: "cut") { log.add($0) }
            let endpoint = try publisher.bind("tcp://127.0.0.1:*")
            let subscriber = try Socket(
                .sub, in: context,
                options: [.receiveHighWaterMark(1), .subscribe([]), .reconnect(first: .seconds(60), longest: .seconds(60))])
            try subscriber.connect(endpoint)
            _ = try await publisher.next()
            monitor.dispatch()
            guard case .connected(let descriptor)? = log.entries.first else {
                Issue.record("no connection")
                return
            }
            let connection = PeerConnection(descriptor)
            let gauge = ByteGauge()
            for _ in 0..<64 { _ = try publisher.send([bytes("T"), megabyte], gauges: [gauge]) }
            try await eventually("the system's queue is full") { (connection.unsentBytes ?? 0) > 0 }
            #expect(gauge.bytes > 0)
            connection.cut()
            try await eventually("the connection has ended") {
                monitor.dispatch()
                return log.entries.contains(.disconnected(descriptor))
            }
            // libzmq cleans up when the socket is next used.
            try await eventually("nothing is counted any more") {
                _ = publisher.events()
                return gauge.bytes == 0
            }
        }
    }

    @Test func aDescriptorThatIsNoConnectionHasNothingUnsent() {
        #expect(PeerConnection(-1).unsentBytes == nil)
        PeerConnection(-1).cut()
    }
}
