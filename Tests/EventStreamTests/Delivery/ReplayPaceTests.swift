import EventStream
import Testing

@testable import EventStreamPusher

@Suite struct ReplayPaceTests {
    @Test(arguments: [1, 10, 50, 99, 100]) func `work takes its share of the time`(_ share: Int) {
        var pace = ReplayPace(share: share)
        var (now, worked) = (start, Duration.zero)
        for millisecond in 1...100 {
            now = now + pace.pause(at: now)
            now = now + .milliseconds(millisecond)
            worked += .milliseconds(millisecond)
            pace.worked(.milliseconds(millisecond), until: now)
        }
        let part = worked / (now + pace.pause(at: now) - start)
        #expect(abs(part - Double(share) / 100) < 0.001)
    }

    @Test func `whoever has rested need not wait`() {
        var pace = ReplayPace(share: 10)
        #expect(pace.pause(at: start) == .zero)
        pace.worked(.milliseconds(1), until: start)
        #expect(pace.pause(at: start) == .milliseconds(9))
        #expect(pace.pause(at: start + .seconds(1)) == .zero)
    }
}
