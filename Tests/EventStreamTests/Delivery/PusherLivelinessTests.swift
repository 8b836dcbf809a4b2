import EventStream
import EventStreamPusher
import Testing

@Suite struct PusherLivelinessTests {
    private let start = MonotonicTime.now

    /// Looks by a pusher that looks with each of its own signs of life.
    private func look(
        every interval: Duration, for duration: Duration, at other: (interval: Duration, diesAfter: Duration)
    ) -> (first: Duration?, last: [Int64]) {
        var liveliness = PusherLiveliness()
        var (first, elapsed) = (Duration?.none, Duration.zero)
        while elapsed <= duration {
            let beat = Int64(min(elapsed, other.diesAfter) / other.interval)
            liveliness.saw([1: (Int64(elapsed / interval), interval), 2: (beat, other.interval)], at: start + elapsed)
            if first == nil, !liveliness.dead(besides: 1).isEmpty { first = elapsed }
            elapsed += interval
        }
        return (first, liveliness.dead(besides: 1))
    }

    @Test func onePusherIsJudgedByItsOwnIntervalAndNotByWhoeverLooks() {
        // Sessions time out after 120 s and after 5 s: signs of life every 24 s and every second.
        #expect(look(every: .seconds(1), for: .seconds(600), at: (.seconds(24), .seconds(600))).first == nil)
        #expect(look(every: .seconds(24), for: .seconds(600), at: (.seconds(1), .seconds(600))).first == nil)
    }

    @Test(arguments: [(1, 24), (24, 1), (3, 3)])
    func aDeadOneIsFound(mine: Int, its: Int) throws {
        let found = look(every: .seconds(mine), for: .seconds(300), at: (.seconds(its), .seconds(100)))
        let at = try #require(found.first)
        #expect(at >= .seconds(100) + .seconds(its * 3) - .seconds(its) && at <= .seconds(100) + .seconds(its * 4 + mine * 2))
        #expect(found.last == [2])
    }

    @Test func whatHasHappenedSinceTheLastLookNobodyKnows() {
        var liveliness = PusherLiveliness()
        liveliness.saw([2: (7, .seconds(1))], at: start)
        #expect(liveliness.dead(besides: 1) == [])
        liveliness.saw([2: (8, .seconds(1))], at: start + .seconds(24))
        #expect(liveliness.dead(besides: 1) == [])
        liveliness.saw([2: (8, .seconds(1))], at: start + .seconds(27))
        #expect(liveliness.dead(besides: 1) == [2])
        #expect(liveliness.dead(besides: 2) == [])
        liveliness.saw([:], at: start + .seconds(28))
        #expect(liveliness.dead(besides: 1) == [])
    }
}
