import EventStream
import LibZMQ
import TestSupport
import Testing

@testable import EventStreamPusher

@Suite struct BroadcastBacklogTests {
    private let size = page(after: 0, events([1])).byteCount

    @Test func whatIsHeldBackGoesOnceThereIsRoom() {
        var backlog = BroadcastBacklog(byteLimit: 100, holdLimit: 100 * size)
        backlog.append(page(after: 0, events([1])))
        #expect(backlog.next(waiting: 51) == nil)
        #expect(!backlog.isEmpty)
        #expect(backlog.next(waiting: 50)?.events == 0..<1)
        #expect(backlog.isEmpty)
    }

    @Test func eventsThatComeAgainAreNotSentAgain() {
        var backlog = BroadcastBacklog(byteLimit: 100, holdLimit: 100 * size)
        for ids in [1...3, 2...5, 4...5] as [ClosedRange<Int64>] { backlog.append(page(after: 0, events(ids))) }
        #expect((0..<3).map { _ in backlog.next(waiting: 0)?.events } == [0..<3, 2..<4, 2..<2])
    }

    @Test func looksAreApartAndOnlyWhileSomethingIsHeldBack() {
        var backlog = BroadcastBacklog(byteLimit: 100, holdLimit: 100 * size)
        var isDue = [backlog.isLookDue(at: start)]
        backlog.append(page(after: 0, events([1])))
        for time in [0, 49, 50, 51] { isDue.append(backlog.isLookDue(at: start + .milliseconds(time))) }
        #expect(isDue == [false, true, false, true, false])
    }

    @Test func theSlowestIsCutOnlyIfMuchIsHeldBackAndNobodyIsStuck() {
        var backlog = BroadcastBacklog(byteLimit: 100, holdLimit: 2 * size)
        let (stuck, slowest) = (PeerConnection(1), PeerConnection(2))
        backlog.append(page(after: 0, events([1])))
        #expect(backlog.look([stuck: 10, slowest: 20]).slow == [])
        backlog.append(page(after: 1, events([2])))
        #expect(backlog.look([stuck: 10, slowest: 20]).slow == [slowest])
        #expect(backlog.look([stuck: 0, slowest: 0]).slow == [])
        for look in 0..<20 { #expect(backlog.look([stuck: 7, slowest: 8 + look]).slow == [slowest]) }
        #expect(backlog.look([stuck: 7, slowest: 1000]).slow == [stuck])
    }

    @Test func everyEventIsSentOnceInOrderOrCountedAsDropped() {
        var random = SplitMix(seed: SplitMix.seedOfRun())
        for _ in 0..<200 {
            let holdLimit = random.pick(1...20) * size
            var backlog = BroadcastBacklog(byteLimit: 100, holdLimit: holdLimit)
            var (last, newest, sent, dropped) = (Int64(0), EventID.none, 0, 0)
            func send(while waiting: (inout SplitMix) -> Int) {
                while let next = backlog.next(waiting: waiting(&random)) {
                    for event in next.page.entries[next.events] {
                        #expect(event.id > newest)
                        newest = event.id
                    }
                    sent += next.events.count
                }
            }
            for _ in 0..<200 {
                switch random.below(4) {
                case 0, 1:
                    let added = (last + 1)..<(last + Int64(random.pick(1...4)))
                    backlog.append(page(after: EventID(last), events(added)))
                    last = added.upperBound - 1
                case 2: send { $0.below(100) }
                default: dropped += backlog.look([:]).dropped
                }
            }
            send { _ in 0 }
            #expect(backlog.isEmpty && sent + dropped == Int(last))
        }
    }
}
