import EventStream
import Testing

@testable import evt_load

/// The load check finds what is wrong.
struct ComparisonTests {
    private func compare(
        _ committed: ClosedRange<Int64>, _ received: [Int64], skips: Set<Int> = [],
        allowance: Comparison.Allowance = .never, fromFirst: Bool = false
    ) -> Comparison {
        var contents = Recording.Contents()
        contents.ids = received.map { EventID($0) }
        contents.skips = skips
        return Comparison(
            committed: committed.map { EventID($0) }, contents: contents, allowance: allowance, fromFirst: fromFirst)
    }

    @Test func allInOrderIsGood() {
        let found = compare(1...5, [1, 2, 3, 4, 5])
        #expect(found.isGood && found.expected == 5 && found.received == 5)
    }

    @Test func whatIsMissingIsLostWhereverItIs() {
        #expect(compare(1...5, [2, 4]).lost == 3)
        #expect(compare(1...5, []).lost == 5)
    }

    @Test func whatComesTwiceIsDoubled() {
        let found = compare(1...3, [1, 2, 2, 3, 1])
        #expect(found.doubled == 2 && found.lost == 0 && found.outOfOrder == 0 && !found.isGood)
    }

    @Test func whatComesLateIsOutOfOrderAndNotLost() {
        let found = compare(1...4, [1, 3, 2, 4])
        #expect(found.outOfOrder == 1 && found.lost == 0 && found.doubled == 0 && !found.isGood)
    }

    @Test func whatWasNeverCommittedIsNamed() {
        let found = compare(2...3, [1, 2, 3, 9])
        #expect(found.uncommitted == 2 && found.lost == 0 && !found.isGood)
    }

    @Test func thoseWithoutAPositionCountFromTheirFirst() {
        let found = compare(1...5, [3, 4, 5], fromFirst: true)
        #expect(found.isGood && found.expected == 3)
        #expect(compare(1...5, [3, 5], fromFirst: true).lost == 1)
    }

    @Test func anAnnouncedDropIsNoLoss() {
        let found = compare(1...6, [1, 3, 5, 6], skips: [1], allowance: .announced)
        #expect(found.dropped == 1 && found.lost == 1)
    }

    @Test func aQueueThatWasNeverFullDropsNothing() {
        #expect(compare(1...5, [1, 2, 3, 5], allowance: .afterQueue(of: 4)).lost == 1)
        #expect(compare(1...6, [1, 2, 3, 4, 6], allowance: .afterQueue(of: 4)).dropped == 1)
    }

    @Test func theEndIsNeverDropped() {
        #expect(compare(1...5, [1, 2, 3], allowance: .untold).lost == 2)
    }

    @Test func aSeedChoosesTheSameTransactions() {
        func plan(_ seed: UInt64) -> [String] {
            var plan = MixPlan(seed: seed, writer: 1, kinds: Set(MixTransaction.Kind.allCases))
            return (0..<200).map { _ in "\(plan.next())" }
        }
        #expect(plan(7) == plan(7))
        #expect(plan(7) != plan(8))
    }
}
