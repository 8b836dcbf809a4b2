import EventStream
import EventStreamPusher
import TestSupport
import Testing

@Suite struct LiveDeliveryTests {
    private func delivery(requestMax: Int = 2, queueMax: Int = 100) -> LiveDelivery {
        LiveDelivery(after: 10, configuration: .init(requestMax: requestMax, queueMax: queueMax, ackTimeout: .seconds(30)))
    }

    @Test func groupsThatWaitAreFilledUpToTheLimit() {
        var live = delivery()
        #expect(live.arrived(through: 12, count: 2, bytes: 0, limits: GroupLimits(events: 5, bytes: 1000)) == 0)
        #expect(live.arrived(through: 15, count: 3, bytes: 0, limits: GroupLimits(events: 5, bytes: 1000)) == 0)
        #expect(live.arrived(through: 16, count: 1, bytes: 0, limits: GroupLimits(events: 5, bytes: 1000)) == 0)
        let (first, second) = (live.next(rid: 1, at: start), live.next(rid: 2, at: start))
        #expect((first?.sequence, first?.after, first?.through, first?.count) == (0, 10, 15, 5))
        #expect((second?.sequence, second?.after, second?.through, second?.count) == (1, 15, 16, 1))
        #expect(live.eventsWaiting == 0)
    }

    @Test func unwantedEventsTakeNoRoom() {
        var live = delivery()
        #expect(live.arrived(through: 20, count: 0, bytes: 0, limits: GroupLimits(events: 5, bytes: 1000)) == 0)
        #expect(live.next(rid: 1, at: start) == nil)
        #expect(live.arrived(through: 21, count: 1, bytes: 0, limits: GroupLimits(events: 5, bytes: 1000)) == 0)
        #expect(live.arrived(through: 30, count: 0, bytes: 0, limits: GroupLimits(events: 5, bytes: 1000)) == 0)
        let group = live.next(rid: 1, at: start)
        #expect((group?.after, group?.through, group?.count) == (20, 30, 1))
    }

    @Test func whatArrivedBeforeIsNotTakenAgain() {
        var live = delivery()
        #expect(live.arrived(through: 10, count: 3, bytes: 0, limits: GroupLimits(events: 5, bytes: 1000)) == 0)
        #expect(live.eventsWaiting == 0)
    }

    @Test func theWindowBoundsWhatIsInFlight() {
        var live = delivery()
        for id in 11...14 {
            _ = live.arrived(through: EventID(Int64(id)), count: 1, bytes: 0, limits: GroupLimits(events: 1, bytes: 1000))
        }
        #expect(live.next(rid: 1, at: start) != nil)
        #expect(live.next(rid: 2, at: start) != nil)
        #expect(live.next(rid: 3, at: start) == nil)
        #expect(live.answered(7) == false)
        #expect(live.answered(2) == true)
        #expect(live.answered(2) == false)
        #expect(live.next(rid: 3, at: start)?.sequence == 2)
    }

    @Test func `a missing answer frees its place and nothing is sent again`() {
        var live = delivery(requestMax: 1)
        for id in 11...12 {
            _ = live.arrived(through: EventID(Int64(id)), count: 1, bytes: 0, limits: GroupLimits(events: 1, bytes: 1000))
        }
        #expect(live.nextDeadline == nil)
        #expect(live.next(rid: 1, at: start)?.sequence == 0)
        #expect(live.nextDeadline == start + .seconds(30))
        #expect(live.next(rid: 2, at: start + .seconds(29)) == nil)
        #expect(live.next(rid: 2, at: start + .seconds(30))?.sequence == 1)
        #expect(live.answered(1) == false)
        #expect(live.nextDeadline == nil)
    }

    @Test func `the oldest waiting groups are dropped and their numbers skipped`() {
        var live = delivery(queueMax: 3)
        var dropped = 0
        for id in 11...16 {
            dropped += live.arrived(through: EventID(Int64(id)), count: 1, bytes: 0, limits: GroupLimits(events: 1, bytes: 1000))
        }
        #expect((dropped, live.dropped, live.eventsWaiting) == (3, 3, 3))
        let group = live.next(rid: 1, at: start)
        #expect((group?.sequence, group?.after, group?.through) == (3, 13, 14))
    }

    @Test func `a group that is lost counts as dropped and frees its place`() {
        var live = delivery(requestMax: 1)
        for id in 11...12 {
            _ = live.arrived(through: EventID(Int64(id)), count: 1, bytes: 0, limits: GroupLimits(events: 1, bytes: 1000))
        }
        let group = live.next(rid: 1, at: start)!
        live.lost(group, rid: 1)
        #expect(live.dropped == 1)
        #expect(live.next(rid: 2, at: start)?.sequence == 1)
    }

    @Test func everyEventIsEitherSentOrCountedAsDropped() async {
        await Simulation.check(stepsEach: 300) { seed in
            var random = SplitMix(seed: seed)
            let queueMax = random.pick(1...40)
            var live = delivery(requestMax: random.pick(1...4), queueMax: queueMax)
            var (now, end, rid) = (start, Int64(10), UInt64(0))
            var (arrived, sent, skipped) = (0, 0, 0)
            var (newest, sequence) = (EventID(10), UInt64(0))
            var open: [UInt64] = []
            for _ in 0..<300 {
                switch random.below(6) {
                case 0...2:
                    let count = random.below(4)
                    end += Int64(count + random.below(2))
                    guard count > 0 else { continue }
                    arrived += count
                    _ = live.arrived(
                        through: EventID(end), count: count, bytes: 0,
                        limits: GroupLimits(events: random.pick(1...10), bytes: 1000))
                case 3:
                    rid += 1
                    guard let group = live.next(rid: rid, at: now) else { continue }
                    if group.after < newest || group.sequence < sequence { return "group \(group.sequence) goes back" }
                    skipped += Int(group.sequence - sequence)
                    (newest, sequence) = (group.through, group.sequence + 1)
                    sent += group.count
                    open.append(rid)
                case 4: if let answered = open.popLast() { _ = live.answered(answered) }
                default: now += .seconds(random.below(40))
                }
                if live.eventsWaiting > queueMax { return "\(live.eventsWaiting) events wait, \(queueMax) may" }
                if arrived != sent + live.dropped + live.eventsWaiting { return "events are unaccounted for" }
                if skipped > live.dropped { return "numbers are skipped for nothing" }
            }
            return nil
        }
    }
}
