import EventStream
import EventStreamDiscarder
import TestSupport
import Testing

@Suite struct DiscardPlanTests {
    private let segment: Int64 = 1 << 17
    private let start = ContinuousClock.now

    private func plan(limit: Int = 100, period: Duration = .seconds(60)) -> DiscardPlan {
        DiscardPlan(limit: limit, period: period)
    }

    private func stream(_ oldest: Int64?, confirmed: Int64?, newest: Int64) -> DiscardPlan.Stream {
        .init(newest: EventID(newest), confirmed: confirmed.map { EventID($0) }, oldest: oldest.map { EventID($0) })
    }

    private func rests(_ step: DiscardPlan.Step) -> Bool {
        if case .rest = step { return true }
        return false
    }

    @Test func withoutConsumersOrEventsNothingIsDiscarded() {
        var plan = plan()
        #expect(rests(plan.next(stream(1, confirmed: nil, newest: 9), now: start)))
        #expect(rests(plan.next(stream(nil, confirmed: 5, newest: 5), now: start)))
        #expect(rests(plan.next(stream(nil, confirmed: nil, newest: 0), now: start)))
    }

    @Test func whatTheSlowestConsumerHasNotConfirmedStays() {
        var plan = plan()
        #expect(rests(plan.next(stream(1, confirmed: 0, newest: 9), now: start)))
        #expect(rests(plan.next(stream(7, confirmed: 6, newest: 9), now: start)))
        #expect(
            plan.next(stream(7, confirmed: 7, newest: 9), now: start) == .delete(segment: 0, from: 7, through: 7, limit: 100))
    }

    @Test func aSegmentConfirmedAndLeftByItsWritersIsEmptied() {
        var plan = plan()
        let end = EventID(segment - 1)
        #expect(plan.next(stream(3, confirmed: segment, newest: segment), now: start) == .empty(segment: 0, through: end))
        #expect(plan.next(stream(3, confirmed: segment - 1, newest: segment), now: start) == .empty(segment: 0, through: end))
        // All of it is confirmed, but the next event may still go into it.
        #expect(
            plan.next(stream(3, confirmed: segment - 1, newest: segment - 1), now: start)
                == .delete(segment: 0, from: 3, through: end, limit: 100))
        #expect(
            plan.next(stream(9 * segment, confirmed: 100 * segment, newest: 100 * segment), now: start)
                == .empty(segment: 1, through: EventID(10 * segment - 1)))
    }

    @Test func `a segment in which another run is being written loses rows`() {
        var plan = plan(limit: 10)
        #expect(
            plan.next(stream(3, confirmed: 5 * segment, newest: 8 * segment + 5), now: start)
                == .delete(segment: 0, from: 3, through: EventID(segment - 1), limit: 10))
    }

    @Test func `a segment that holds unconfirmed events too loses rows at once`() {
        var plan = plan()
        let stream = stream(3, confirmed: 2 * segment, newest: 9 * segment)
        #expect(plan.next(stream, now: start) == .empty(segment: 0, through: EventID(segment - 1)))
        plan.refused(.impossible, through: EventID(segment - 1), now: start)
        #expect(
            plan.next(stream, now: start) == .delete(segment: 0, from: 3, through: EventID(segment - 1), limit: 100))
    }

    @Test func `a segment being read is tried again ever more seldom and then loses rows`() {
        var plan = plan(period: .seconds(20))
        let stream = stream(3, confirmed: 2 * segment, newest: 2 * segment)
        let empty = DiscardPlan.Step.empty(segment: 0, through: EventID(segment - 1))
        var attempts = 0
        var now = start
        while now - start <= .seconds(20) {
            if plan.next(stream, now: now) == empty {
                attempts += 1
                plan.refused(.busy, through: EventID(segment - 1), now: now)
                #expect(rests(plan.next(stream, now: now)))
            }
            now += .milliseconds(50)
        }
        #expect((6...9).contains(attempts))
        #expect(
            plan.next(stream, now: now) == .delete(segment: 0, from: 3, through: EventID(segment - 1), limit: 100))
        // The next run begins with a clean slate.
        let later = self.stream(segment, confirmed: 2 * segment, newest: 2 * segment)
        #expect(plan.next(later, now: now) == .empty(segment: 1, through: EventID(2 * segment - 1)))
    }

    @Test func theRingComingRoundWaitsForNoReader() {
        var plan = plan()
        let end = EventID(segment - 1)
        #expect(plan.next(stream(3, confirmed: 2 * segment, newest: 6 * segment), now: start) == .empty(segment: 0, through: end))
        plan.refused(.busy, through: end, now: start)
        #expect(
            plan.next(stream(3, confirmed: 2 * segment, newest: 6 * segment), now: start)
                == .delete(segment: 0, from: 3, through: end, limit: 100))
    }

    @Test func aSegmentThatIsFullSoonIsLeftToBeEmptied() {
        var plan = plan(period: .seconds(1))
        var (now, newest) = (start, Int64(0))
        // 100 000 events a second, all confirmed at once.
        while newest + 4000 < segment {
            newest += 4000
            now += .milliseconds(40)
            let step = plan.next(stream(1, confirmed: newest, newest: newest), now: now)
            if newest > 40_000 { #expect(rests(step)) }
        }
        now += .milliseconds(40)
        #expect(
            plan.next(stream(1, confirmed: newest + 4000, newest: newest + 4000), now: now)
                == .empty(segment: 0, through: EventID(segment - 1)))
    }

    @Test func atALowRateRowsGoOnceAPeriod() {
        var plan = plan(period: .seconds(10))
        var (now, oldest, rounds) = (start, Int64(1), 0)
        for newest in Int64(1)...100 {
            // One event a second; what a step may delete is deleted.
            while case .delete(_, _, let through, _) = plan.next(stream(oldest, confirmed: newest, newest: newest), now: now) {
                rounds += 1
                oldest = through.rawValue + 1
            }
            now += .seconds(1)
        }
        #expect(rounds == 10)
        #expect(oldest > 90)
    }

    @Test func whereSegmentsFillFastLooksAreFrequent() {
        var plan = plan()
        guard case .rest(let idle) = plan.next(stream(nil, confirmed: 0, newest: 0), now: start) else { return }
        #expect(idle == .seconds(1))
        for step in 1...100 {
            _ = plan.next(stream(1, confirmed: 0, newest: Int64(step) * 20_000), now: start + .milliseconds(100 * step))
        }
        guard case .rest(let busy) = plan.next(stream(1, confirmed: 0, newest: 2_000_000), now: start + .seconds(10)) else {
            Issue.record("nothing is confirmed")
            return
        }
        #expect(busy > .milliseconds(250) && busy < .milliseconds(450))
    }

    @Test func `a segment is emptied while nobody writes if much is confirmed`() {
        var plan = plan(limit: 10)
        let much = stream(1, confirmed: 1000, newest: 1000)
        #expect(plan.next(much, now: start) == .delete(segment: 0, from: 1, through: 1000, limit: 10))
        #expect(plan.next(much, now: start + .seconds(1)) == .empty(segment: 0, through: 1000))
        // In use, or not for us to empty: rows.
        plan.refused(.busy, through: 1000, now: start + .seconds(1))
        #expect(plan.next(much, now: start + .seconds(1)) == .delete(segment: 0, from: 1, through: 1000, limit: 10))
        let few = stream(900, confirmed: 1000, newest: 1000)
        #expect(plan.next(few, now: start + .seconds(9)) == .delete(segment: 0, from: 900, through: 1000, limit: 10))
        // Older events of other segments would be skipped.
        let wrapped = stream(1, confirmed: 8 * segment + 9, newest: 8 * segment + 9)
        var other = self.plan(limit: 10)
        _ = other.next(wrapped, now: start)
        #expect(
            other.next(wrapped, now: start + .seconds(1))
                == .delete(segment: 0, from: 1, through: EventID(segment - 1), limit: 10))
    }

    @Test func aStepDeletesSomethingEvenWithASillyLimit() {
        var plan = plan(limit: 0)
        #expect(plan.next(stream(1, confirmed: 1, newest: 1), now: start) == .delete(segment: 0, from: 1, through: 1, limit: 1))
    }

    @Test func `repeated steps discard all that is confirmed and nothing else`() {
        var random = SplitMix(seed: 3)
        for _ in 0..<200 {
            var left = Set((0..<200).map { _ in Int64(random.pick(1...Int(20 * segment))) })
            let newest = left.max()!
            let confirmed = random.chance(50) ? newest : min(newest, Int64(random.pick(0...Int(20 * segment))))
            let kept = left.filter { $0 > confirmed }
            var plan = plan(limit: random.pick(1...30), period: .milliseconds(random.pick(0...3000)))
            var now = start
            var discarded: Int64 = 0
            // Nobody has been writing for a while, or it is not known.
            if random.chance(50) {
                _ = plan.next(stream(nil, confirmed: confirmed, newest: newest), now: now)
                now += .seconds(1)
            }
            for _ in 0..<10_000 where left != kept {
                let oldest = left.min()
                switch plan.next(stream(oldest, confirmed: confirmed, newest: newest), now: now) {
                case .empty(let index, let through):
                    #expect(through.rawValue <= confirmed)
                    let held = left.filter { StreamTables.segmentIndex(of: EventID($0)) == index }
                    if held.max()! > confirmed {
                        plan.refused(.impossible, through: through, now: now)
                    } else if random.chance(33) {
                        plan.refused(.busy, through: through, now: now)
                    } else {
                        left.subtract(held)
                        discarded = max(discarded, through.rawValue)
                    }
                case .delete(let index, let from, let through, let limit):
                    #expect(through.rawValue <= confirmed && from.rawValue == oldest)
                    let gone = left.filter {
                        StreamTables.segmentIndex(of: EventID($0)) == index && $0 >= from.rawValue && $0 <= through.rawValue
                    }.sorted().prefix(limit)
                    #expect(gone.count > 0)
                    left.subtract(gone)
                    discarded = max(discarded, gone.last ?? 0)
                case .rest(let pause):
                    #expect(pause >= .zero)
                    now += max(pause, .milliseconds(10))
                }
                // The low-water mark skips nothing.
                #expect((left.min() ?? .max) > discarded)
            }
            #expect(left.count == kept.count && left.isSubset(of: kept))
        }
    }
}
