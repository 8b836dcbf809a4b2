import EventStream
import EventStreamPusher
import Testing

@Suite struct PollMemoTests {
    private let rare = EventFilter([EventType("RARE")!])!

    @Test func whereNothingWasFoundNobodyLooksAgain() {
        var memo = PollMemo()
        #expect(memo.start(after: 5, want: rare) == 5)
        memo.foundNothing(after: 5, through: 900, want: rare)
        #expect(memo.start(after: 5, want: rare) == 900)
        #expect(memo.start(after: 6, want: rare) == 6)
        #expect(memo.start(after: 5, want: EventFilter([EventType("OTHER")!])!) == 5)
    }

    @Test func questionsWithoutAFilterAreNotRemembered() {
        var memo = PollMemo()
        memo.foundNothing(after: 5, through: 900, want: .all)
        #expect(memo.start(after: 5, want: .all) == 5)
    }

    @Test func whatIsRememberedIsBounded() {
        var memo = PollMemo(limit: 10)
        for id in 1...11 as ClosedRange<Int64> { memo.foundNothing(after: EventID(id), through: 900, want: rare) }
        #expect(memo.start(after: 11, want: rare) == 900)
        #expect(memo.start(after: 1, want: rare) == 1)
    }
}
