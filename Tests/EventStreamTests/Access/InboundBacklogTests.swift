import EventStream
import EventStreamServer
import TestSupport
import Testing

@Suite struct InboundBacklogTests {
    private let start = MonotonicTime.now

    @Test func whoSendsMoreThanIsTakenIsCutTheLargestFirst() {
        var backlog = InboundBacklog(limit: 10_000)
        for connection: Int32 in 1...3 { backlog.connected(connection, at: start) }
        for _ in 0..<10 { backlog.took(100, from: 1) }
        let received: [Int32: Int] = [1: 1000, 2: 6000, 3: 3000]
        // Nothing of 2 and 3 was handed over: how small their messages are is not known.
        let cut = backlog.look(at: start, isDrained: false) { received[$0] }
        #expect(cut == [2])
        backlog.disconnected(2)
        let then = backlog.look(at: start, isDrained: false) { received[$0] }
        #expect(then.isEmpty)
    }

    /// Handshakes, heartbeats, encryption: what the count does not know is not taken for a backlog, however much it becomes.
    @Test func whatIsNotCountedIsLearnedWhenNothingIsLeft() {
        var backlog = InboundBacklog(limit: 10_000)
        backlog.connected(1, at: start)
        var bytes = 0
        for second in 1...1000 {
            for _ in 0..<10 { backlog.took(100, from: 1) }
            bytes += 10 * 100 + 400
            let cut = backlog.look(
                at: start + .seconds(second), isDrained: second.isMultiple(of: 2)
            ) { _ in bytes }
            #expect(cut.isEmpty, "after \(second)")
        }
    }

    /// Messages that are begun and never ended, and those of connections libzmq ignores.
    @Test func whatIsNeverHandedOverCountsAlthoughNothingIsLeft() {
        var backlog = InboundBacklog(limit: 10_000)
        backlog.connected(1, at: start)
        backlog.connected(2, at: start)
        backlog.took(100, from: 2)
        let cut = backlog.look(at: start + .seconds(1), isDrained: true) { $0 == 1 ? 900 : 50_000 }
        #expect(cut == [2])
        // A large one that is complete in the end was none of it.
        backlog.connected(3, at: start)
        let before = backlog.look(at: start + .seconds(1), isDrained: true) { $0 == 3 ? 9_000 : nil }
        backlog.took(9_000, from: 3)
        let after = backlog.look(at: start + .seconds(2), isDrained: true) { $0 == 3 ? 9_100 : nil }
        #expect(before.isEmpty && after.isEmpty)
    }

    /// Against a model that knows what is there: never is more than the limit left, and nobody is cut while there is less.
    @Test func itAgreesWithAModel() {
        var random = SplitMix(seed: SplitMix.seedOfRun())
        for _ in 0..<200 {
            let limit = 100_000
            var backlog = InboundBacklog(limit: limit)
            var (received, taken): ([Int32: Int], [Int32: Int]) = ([:], [:])
            for connection: Int32 in 0..<5 {
                backlog.connected(connection, at: start)
                (received[connection], taken[connection]) = (0, 0)
            }
            for _ in 0..<300 {
                let connection = Int32(random.next() % 5)
                // Messages of 1000 bytes, each 80 more in memory.
                if random.oneIn(2) { received[connection]? += Int(random.next() % 30) * 1000 }
                for _ in 0..<(random.next() % 20) where taken[connection]! < received[connection]! {
                    taken[connection]? += 1000
                    backlog.took(1000, from: connection)
                }
                let left = received.map { ($0.value - taken[$0.key]!) / 1000 * 1080 }.reduce(0, +)
                // Of whom nothing was taken yet, more is believed to be there.
                let isKnown = taken.allSatisfy { $0.value > 0 || received[$0.key] == 0 }
                let cut = backlog.look(at: start, isDrained: false) { received[$0] }
                for connection in cut {
                    backlog.disconnected(connection)
                    backlog.connected(connection, at: start)
                    (received[connection], taken[connection]) = (0, 0)
                }
                let rest = received.map { ($0.value - taken[$0.key]!) / 1000 * 1080 }.reduce(0, +)
                #expect(rest <= limit && (left > limit || cut.isEmpty || !isKnown))
            }
        }
    }
}
