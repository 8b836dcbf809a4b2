import EventStream
import EventStreamServer
import Testing

@Suite struct StuckConnectionsTests {
    @Test func aQueueThatDoesNotMoveBelongsToOneThatIsStuck() {
        var stuck = StuckConnections<Int32>(looks: 3)
        #expect(stuck.look([1: 500, 2: 400]) == [])
        #expect(stuck.look([1: 500, 2: 300]) == [])
        #expect(stuck.look([1: 500, 2: 400]) == [1])
        #expect(stuck.look([2: 400]) == [])
    }

    @Test func anEmptyQueueIsNeverStuck() {
        var stuck = StuckConnections<Int32>(looks: 2)
        for _ in 0..<10 { #expect(stuck.look([1: 0]) == []) }
    }

    @Test func oneThatTakesSomethingNowAndThenIsNotStuck() {
        var stuck = StuckConnections<Int32>(looks: 3)
        for round in 0..<30 { #expect(stuck.look([1: 500 - round / 2]) == []) }
    }

    @Test func whatWasSeenBeforeThereWasRoomAgainDoesNotCount() {
        var stuck = StuckConnections<Int32>(looks: 2)
        #expect(stuck.look([1: 500]) == [])
        stuck.forget()
        #expect(stuck.look([1: 500]) == [])
        #expect(stuck.look([1: 500]) == [1])
    }
}
