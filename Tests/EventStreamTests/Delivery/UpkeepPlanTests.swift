import EventStream
import EventStreamServer
import Testing

@Suite struct UpkeepPlanTests {
    private typealias Plan = UpkeepPlan<String>
    private let start = MonotonicTime.now

    @Test func aSmallTableIsLeftAlone() {
        #expect(Plan().due(["a": Plan.least, "b": 0], at: start) == [])
    }

    @Test func theOneThatHasGrownMostComesFirst() {
        #expect(Plan().due(["a": Plan.least + 1, "b": 9 * Plan.least, "c": 10], at: start) == ["b", "a"])
    }

    @Test func whatATableNeedsForItsRowsIsNoGrowth() {
        var plan = Plan()
        plan.ended("a", .done(bytes: 4 * Plan.least), at: start)
        #expect(plan.due(["a": 4 * Plan.least * Plan.factor], at: start) == [])
        #expect(plan.due(["a": 4 * Plan.least * Plan.factor + 1], at: start) == ["a"])
    }

    @Test func aTableThatIsInUseIsTriedAgainMoreAndMoreRarely() {
        var (plan, now) = (Plan(), start)
        var pauses: [Duration] = []
        for _ in 0..<10 {
            plan.ended("a", .busy, at: now)
            let begun = now
            while plan.due(["a": 9 * Plan.least], at: now).isEmpty { now += .milliseconds(100) }
            pauses.append(now - begun)
        }
        #expect(pauses.first == .milliseconds(500))
        #expect(pauses == pauses.sorted())
        #expect(pauses.last == .seconds(30))
        plan.ended("a", .done(bytes: 1), at: now)
        #expect(plan.due(["a": 9 * Plan.least], at: now) == ["a"])
    }

    @Test func whatCannotBeDoneIsLeftForLong() {
        var plan = Plan()
        plan.ended("a", .impossible, at: start)
        #expect(plan.due(["a": 9 * Plan.least], at: start + .seconds(599)) == [])
        #expect(plan.due(["a": 9 * Plan.least], at: start + .seconds(600)) == ["a"])
    }
}
