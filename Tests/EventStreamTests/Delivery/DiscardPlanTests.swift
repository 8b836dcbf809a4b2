import EventStream
import Testing

@Suite struct DiscardPlanTests {
    private let segment: Int64 = 1 << 17

    @Test func withoutConsumersOrEventsNothingIsDiscarded() {
        let plan = DiscardPlan(limit: 100)
        #expect(plan.next(confirmed: nil, lowest: 1) == .done)
        #expect(plan.next(confirmed: 5, lowest: nil) == .done)
        #expect(plan.next(confirmed: nil, lowest: nil) == .done)
    }

    @Test func whatTheSlowestConsumerHasNotConfirmedStays() {
        let plan = DiscardPlan(limit: 100)
        #expect(plan.next(confirmed: 0, lowest: 1) == .done)
        #expect(plan.next(confirmed: 6, lowest: 7) == .done)
        #expect(plan.next(confirmed: 7, lowest: 7) == .delete(segment: 0, through: 7, limit: 100))
    }

    @Test func aStepStaysWithinOneRunOfTheRing() {
        let plan = DiscardPlan(limit: 10)
        #expect(
            plan.next(confirmed: EventID(5 * segment), lowest: 3) == .delete(segment: 0, through: EventID(segment - 1), limit: 10)
        )
        #expect(
            plan.next(confirmed: EventID(100 * segment), lowest: EventID(9 * segment))
                == .delete(segment: 1, through: EventID(10 * segment - 1), limit: 10))
    }

    @Test func aStepDeletesSomethingEvenWithASillyLimit() {
        #expect(DiscardPlan(limit: 0).next(confirmed: 1, lowest: 1) == .delete(segment: 0, through: 1, limit: 1))
    }

    @Test func repeatedStepsDiscardAllThatIsConfirmedAndNothingElse() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<50 {
            var left = Set((0..<200).map { _ in Int64(random.pick(1...Int(20 * segment))) })
            let confirmed = Int64(random.pick(0...Int(20 * segment)))
            let kept = left.filter { $0 > confirmed }
            let plan = DiscardPlan(limit: random.pick(1...30))
            while case .delete(let index, let through, let limit) = plan.next(
                confirmed: EventID(confirmed), lowest: left.min().map { EventID($0) })
            {
                let gone = left.filter { StreamTables.segmentIndex(of: EventID($0)) == index && $0 <= through.rawValue }.sorted()
                    .prefix(limit)
                guard !gone.isEmpty else {
                    Issue.record("a step that deletes nothing")
                    return
                }
                left.subtract(gone)
            }
            #expect(left == kept)
        }
    }
}
