import EventStream
import EventStreamServer
import TestSupport
import Testing

@testable import EventStreamGenerator

@Suite struct RecordingQueueTests {
    private func queue(events: Int = 100, bytes: Int = 1000) -> RecordingQueue<Int> {
        RecordingQueue(.init(commitMax: 8, commitShare: 2, events: events, bytes: bytes))
    }

    @Test func `half of the room is for others`() throws {
        var queue = queue(events: 10)
        for number in 1...6 { try queue.add(number, of: .connection(1), bytes: 1) }
        #expect(throws: EventStreamError.self) { try queue.add(7, of: .connection(1), bytes: 1) }
        for number in 7...10 { try queue.add(number, of: .connection(2), bytes: 1) }
        #expect(throws: EventStreamError.self) { try queue.add(11, of: .connection(3), bytes: 1) }
    }

    @Test func `a batch of one event, or searched for too long, is not halved`() throws {
        var queue = queue()
        for number in 1...4 { try queue.add(number, of: .connection(1), bytes: 1) }
        let batch = queue.next()
        let half = batch.flatMap { queue.halve($0, at: start) }
        #expect(half?.events == [1, 2])
        let late = half.flatMap { queue.halve($0, at: start + RecordingFailure.searchLimit) }
        #expect(late == nil)
        let quarter = half.flatMap { queue.halve($0, at: start) }
        #expect(quarter?.events == [1])
        let single = quarter.flatMap { queue.halve($0, at: start) }
        #expect(single == nil)
        let left = queue.takeAll()
        #expect(left == [2, 3, 4])
        #expect(queue.isEmpty)
    }

    @Test(arguments: 0..<200)
    func `what is at fault is found, and the rest is recorded once and in order`(_ seed: UInt64) throws {
        var (random, queue) = (SplitMix(seed: seed), queue())
        let guilty = Set((0..<60).filter { _ in Int.random(in: 0..<8, using: &random) == 0 })
        var (recorded, refused, next): ([Int], [Int], Int) = ([], [], 0)
        while next < 60 || !queue.isEmpty {
            while next < 60, Bool.random(using: &random) {
                try queue.add(next, of: .connection(1), bytes: 1)
                next += 1
            }
            guard var batch = queue.next() else { continue }
            while guilty.intersection(batch.events).count > 0, let half = queue.halve(batch, at: start) { batch = half }
            if guilty.intersection(batch.events).isEmpty { recorded += batch.events } else { refused += batch.events }
        }
        #expect(refused == guilty.sorted())
        #expect(recorded == (0..<60).filter { !guilty.contains($0) })
    }
}
