import Testing

@testable import EventStreamDiscarder

@Suite struct KeyRotationTests {
    private let start = ContinuousClock.now

    @Test func theDatabaseIsAskedOftenEnoughAndNoMoreOftenThanEveryMinute() {
        for (window, period) in [(86_400, 60.0), (160, 10), (16, 1), (1, 1.0 / 16)] {
            var rotation = KeyRotation(window: .seconds(window))
            #expect(rotation.isDue(at: start))
            for outcome in [KeyRotation.Outcome.notYet, .emptied] {
                rotation.ended(outcome, at: start)
                #expect(!rotation.isDue(at: start + .seconds(period * 0.99)), "\(window)")
                #expect(rotation.isDue(at: start + .seconds(period)), "\(window)")
            }
        }
    }

    @Test func aTableInUseIsTriedAgainSoon() {
        var rotation = KeyRotation(window: .seconds(86_400))
        rotation.ended(.busy, at: start)
        #expect(!rotation.isDue(at: start + .milliseconds(999)))
        #expect(rotation.isDue(at: start + .seconds(1)))
    }

    @Test func aTableThatIsInUseForLongIsToldNowAndThen() {
        var rotation = KeyRotation(window: .seconds(86_400))
        var told: [Int] = []
        for second in 0..<2000 {
            let now = start + .seconds(second)
            rotation.ended(.busy, at: now)
            if let time = rotation.overdue(at: now) {
                #expect(time == .seconds(second))
                told.append(second)
            }
        }
        #expect(told == [600, 1200, 1800])
        rotation.ended(.emptied, at: start + .seconds(2000))
        rotation.ended(.busy, at: start + .seconds(2001))
        #expect(rotation.overdue(at: start + .seconds(2600)) == nil)
        #expect(rotation.overdue(at: start + .seconds(2601)) == .seconds(600))
    }

    @Test func withoutTheRightItIsTriedSeldom() {
        var rotation = KeyRotation(window: .seconds(1))
        rotation.ended(.refused, at: start)
        #expect(!rotation.isDue(at: start + .seconds(599)))
    }
}
