import PosixLoop
import Testing

struct BackoffTests {
    @Test func pausesDoubleUpToTheLongest() {
        var backoff = Backoff(first: .milliseconds(100), longest: .seconds(1))
        let pauses = (0..<7).map { _ in backoff.next(random: 0) }
        #expect(pauses == [100, 200, 400, 800, 1000, 1000, 1000].map { Duration.milliseconds($0) })
    }

    @Test func aRandomPartShortensButNeverLengthens() {
        for random in [0.001, 0.5, 0.999_999] {
            var backoff = Backoff(first: .milliseconds(100), longest: .seconds(1))
            for full in [100, 200, 400, 800, 1000, 1000] {
                let pause = backoff.next(random: random)
                #expect(pause < .milliseconds(full))
                #expect(pause >= .milliseconds(full) * 0.69)
            }
        }
    }

    @Test func pausesDiffer() {
        let pauses = (0..<20).map { _ in
            var backoff = Backoff(first: .milliseconds(100), longest: .seconds(5))
            return backoff.next()
        }
        #expect(Set(pauses).count > 1)
    }

    @Test func anyNumberOfAttemptsStaysWithinBounds() {
        var backoff = Backoff(first: .milliseconds(1), longest: .seconds(5))
        for _ in 0..<10_000 {
            let pause = backoff.next()
            #expect(pause > .zero && pause <= .seconds(5))
        }
        #expect(backoff.next(random: 0) == .seconds(5))
    }

    @Test func aResetBeginsAgainWithTheFirstPause() {
        var backoff = Backoff(first: .milliseconds(100), longest: .seconds(1))
        for _ in 0..<5 { _ = backoff.next() }
        backoff.reset()
        #expect(backoff.next(random: 0) == .milliseconds(100))
    }

    @Test func aConstantPauseIsPossible() {
        var backoff = Backoff(first: .seconds(1), longest: .seconds(1))
        #expect((0..<3).allSatisfy { _ in backoff.next(random: 0) == .seconds(1) })
    }
}
