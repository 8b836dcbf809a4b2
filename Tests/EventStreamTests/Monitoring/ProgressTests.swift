import EventStream
import Testing

@testable import EventStreamServer

/// When what waits is said not to move.
@Suite struct ProgressTests {
    private let start = MonotonicTime.now

    @Test func nothingIsWrongWhereNothingWaits() {
        #expect(Progress().trouble("x", at: start + .seconds(1000)) == nil)
    }

    @Test func whatWaitsTooLongIsTold() {
        var progress = Progress()
        progress.waits(at: start)
        progress.waits(at: start + .seconds(14))
        #expect(progress.trouble("3 events wait", at: start + .seconds(15)) == nil)
        #expect(progress.trouble("3 events wait", at: start + .seconds(16)) == "3 events wait, and nothing has moved for 16 s")
    }

    @Test func everyMoveBeginsAnew() {
        var progress = Progress()
        progress.waits(at: start)
        progress.moved(more: true, at: start + .seconds(20))
        #expect(progress.trouble("x", at: start + .seconds(35)) == nil)
        #expect(progress.trouble("x", at: start + .seconds(36)) != nil)
        progress.moved(more: false, at: start + .seconds(40))
        #expect(progress.trouble("x", at: start + .seconds(400)) == nil)
    }

    @Test func aFailureCountsUntilSomethingMoves() {
        var progress = Progress()
        progress.waits(at: start)
        progress.failed("no room", at: start)
        #expect(progress.trouble("x", at: start + .seconds(1000)) == "no room")
        progress.moved(more: false, at: start + .seconds(1001))
        #expect(progress.trouble("x", at: start + .seconds(1001)) == nil)
    }

    @Test func aFailureAfterWhichNothingWasTriedIsForgottenInTime() {
        var progress = Progress()
        progress.failed("no room", at: start)
        #expect(progress.trouble("x", at: start + .seconds(59)) == "no room")
        #expect(progress.trouble("x", at: start + .seconds(61)) == nil)
    }
}
