import EventStream
import EventStreamServer
import TestSupport
import Testing

@Suite struct SendBudgetTests {
    private let budget = SendBudget(limit: 1000)

    @Test func theFirstHalfIsForEveryone() {
        #expect(budget.allows(100, waiting: 400, total: 400))
        #expect(!budget.allows(101, waiting: 400, total: 400))
    }

    @Test func theNextQuarterIsForPeersWithNothingWaiting() {
        #expect(budget.allows(100, waiting: 0, total: 650))
        #expect(!budget.allows(101, waiting: 0, total: 650))
        #expect(!budget.allows(5, waiting: 1, total: 650))
    }

    @Test func theLastQuarterIsForPeersWithLittleWaiting() {
        #expect(budget.little == 3)
        #expect(budget.allows(2, waiting: 1, total: 998))
        #expect(!budget.allows(2, waiting: 2, total: 800))
        #expect(!budget.allows(2, waiting: 0, total: 999))
    }

    @Test func aMessageLargerThanTheBudgetGoesAlone() {
        #expect(budget.allows(5000, waiting: 0, total: 0))
        #expect(!budget.allows(5000, waiting: 0, total: 1))
    }

    @Test func whateverPeersDoTheBytesThatWaitAreBounded() {
        var random = SplitMix(seed: 3)
        for _ in 0..<200 {
            var waiting = [Int](repeating: 0, count: random.pick(1...40))
            // Some never take anything; the others take all they have now and then.
            let stuck = random.below(waiting.count + 1)
            for _ in 0..<2000 {
                let peer = random.below(waiting.count)
                let total = waiting.reduce(0, +)
                let bytes = random.pick(1...200)
                if budget.allows(bytes, waiting: waiting[peer], total: total) {
                    waiting[peer] += bytes
                }
                #expect(waiting.reduce(0, +) <= 1000)
                if peer >= stuck, random.chance(50) { waiting[peer] = 0 }
            }
        }
    }
}
