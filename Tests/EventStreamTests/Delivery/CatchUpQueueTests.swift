import EventStream
import EventStreamPusher
import Testing

@Suite struct CatchUpQueueTests {
    @Test func aFewReadAtATimeAndTheOthersInTheOrderTheyAsked() {
        var queue = CatchUpQueue<String>(limit: 2)
        #expect(queue.mayBegin("A") == true)
        #expect(queue.mayBegin("B") == true)
        #expect(queue.mayBegin("C") == false)
        #expect(queue.mayBegin("D") == false)
        #expect(queue.mayBegin("C") == false, "asking twice is asking once")
        #expect(queue.ended() == "C")
        #expect(queue.ended() == "D")
        #expect(queue.ended() == nil)
        #expect(queue.ended() == nil)
        #expect(queue.mayBegin("C") == true)
    }

    @Test func whoComesBackWaitsBehindThoseWhoWaitAlready() {
        var queue = CatchUpQueue<String>(limit: 1)
        #expect(queue.mayBegin("A") == true)
        #expect(queue.mayBegin("B") == false)
        #expect(queue.ended() == "B")
        #expect(queue.mayBegin("A") == false)
        #expect(queue.mayBegin("C") == false)
        #expect(queue.ended() == "A")
        #expect(queue.ended() == "C")
    }

    @Test func aTurnThatIsNotUsedGoesOn() {
        var queue = CatchUpQueue<String>(limit: 1)
        #expect(queue.mayBegin("A") == true)
        #expect(queue.mayBegin("B") == false)
        #expect(queue.mayBegin("C") == false)
        #expect(queue.ended() == "B")
        #expect(queue.ended() == "C", "B had nothing to read any more")
        #expect(queue.ended() == nil)
    }
}
