import EventStream
import EventStreamPusher
import Testing

@Suite struct ClaimQueueTests {
    private struct Ask: Hashable {
        var peer: String
        var calls: [Int]
    }

    private let start = MonotonicTime.now
    private var queue = ClaimQueue<String, Ask>()

    private mutating func add(_ peer: String, _ call: Int, of consumer: String = "A", after time: Duration = .zero)
        -> ClaimQueue<String, Ask>.Outcome
    {
        queue.add(Ask(peer: peer, calls: [call]), of: consumer, at: start + time) { earlier, later in
            earlier.peer == later.peer ? Ask(peer: later.peer, calls: earlier.calls + later.calls) : nil
        }
    }

    @Test mutating func oneClaimOfAConsumerIsUnderWayAtATime() {
        let outcomes = [add("p", 1), add("q", 2), add("p", 3, of: "B")]
        #expect(outcomes == [.begins(after: .zero), .waits, .begins(after: .zero)])
        let waiting = queue.ended("A")
        #expect(waiting == [Ask(peer: "q", calls: [2])])
        #expect(!queue.isUnderWay("A"))
        #expect(queue.isUnderWay("B"))
    }

    @Test mutating func ofWhatOnePeerAsksMeanwhileTheLastStandsForAll() {
        _ = add("p", 1)
        for call in 2...50 { #expect(add("p", call) == .waits) }
        _ = add("q", 51)
        let waiting = queue.ended("A")
        #expect(waiting == [Ask(peer: "p", calls: Array(2...50)), Ask(peer: "q", calls: [51])])
    }

    @Test mutating func moreThanMayWaitAreRefused() {
        _ = add("p", 0)
        let limit = ClaimQueue<String, Ask>.waitingLimit
        for peer in 1...limit { #expect(add("peer \(peer)", peer) == .waits) }
        #expect(add("one more", 0) == .refused)
    }

    @Test mutating func aFewClaimsNeedNoPauseAndThenThereIsOneAnInterval() {
        let (burst, interval) = (ClaimQueue<String, Ask>.burst, ClaimQueue<String, Ask>.interval)
        for call in 1...burst {
            #expect(add("p", call) == .begins(after: .zero))
            _ = queue.ended("A")
        }
        #expect(add("p", 0) == .begins(after: interval))
        _ = queue.ended("A")
        #expect(add("p", 0) == .begins(after: interval * 2))
        _ = queue.ended("A")
        // Time pays for them.
        #expect(add("p", 0, after: interval * 3) == .begins(after: .zero))
    }

    @Test mutating func whoWithdrawsWaitsNoMoreAndItsClaimIsOfNoUse() {
        _ = add("p", 1)
        _ = add("p", 2)
        _ = add("q", 3)
        let withdrawn = queue.withdraw("A") { $0.peer == "p" }
        #expect(withdrawn == [Ask(peer: "p", calls: [2])])
        #expect(queue.isWithdrawn("A"))
        let waiting = queue.ended("A")
        #expect(waiting == [Ask(peer: "q", calls: [3])])
        #expect(!queue.isWithdrawn("A"))
    }

    @Test mutating func namesAskedForOnceAreForgotten() {
        for number in 0..<100_000 {
            _ = add("p", number, of: "\(number)", after: .milliseconds(number))
            _ = queue.ended("\(number)")
        }
        #expect(queue.count < 3000)
    }
}

@Suite struct EventIDSetTests {
    @Test func itHoldsItsStretches() {
        let set = EventIDSet([EventID(3)...EventID(5), EventID(7)...EventID(7), EventID(10)...EventID(20)])
        let held = (0...25).filter { set.contains(EventID(Int64($0))) }
        #expect(held == [3, 4, 5, 7] + Array(10...20))
        #expect(!EventIDSet().contains(EventID(1)))
    }
}
