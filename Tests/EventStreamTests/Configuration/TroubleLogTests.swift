import EventStream
import Testing

@testable import EventStreamServer

struct TroubleLogTests {
    private let start = MonotonicTime.now

    @Test func theSameTroubleIsToldOnceAMinute() {
        var log = TroubleLog()
        let told = (0..<600).filter { log.isNews("no database", at: start + .milliseconds(500 * $0)) }
        #expect(told == [0, 120, 240, 360, 480])
    }

    @Test func anotherTroubleIsToldAtOnceAndTwoThatTakeTurnsAreToldOnceEach() {
        var log = TroubleLog()
        let told = (0..<100).filter { log.isNews($0 % 2 == 0 ? "refused" : "lost", at: start + .milliseconds($0)) }
        #expect(told == [0, 1])
    }

    @Test func thatAllIsWellAgainIsToldAtFirstAndAfterATroubleThatWasTold() {
        var log = TroubleLog()
        let atFirst = [log.isGoodNews(), log.isGoodNews()]
        #expect(atFirst == [true, false])
        let told = [log.isNews("lost", at: start), log.isGoodNews()]
        #expect(told == [true, true])
        let again = [log.isNews("lost", at: start + .seconds(1)), log.isGoodNews()]
        #expect(again == [false, false])
    }

    @Test func wordsThatDifferEachTimeAreBoundedTogether() {
        var log = TroubleLog()
        let told = (0..<100_000).filter { log.isNews("event \($0) refused", at: start + .microseconds($0)) }
        #expect(told == Array(0..<100))
        let later = log.isNews("event 1 refused", at: start + .seconds(61))
        #expect(later)
    }
}
