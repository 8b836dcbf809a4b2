import EventStream
import TestSupport
import Testing

@testable import EventStreamPusher

@Suite struct HeadPaceTests {
    @Test(arguments: [(100, 0), (50, 100), (20, 400), (10, 900)])
    func `reading takes no more than the share`(share: Int, microseconds: Int) {
        var pace = HeadPace(.init(share: share))
        #expect(pace.pause == .zero)
        for _ in 1...20 { pace.read(took: .microseconds(100)) }
        #expect(pace.pause == .microseconds(microseconds))
    }

    @Test func `no pause is longer than the longest`() {
        var pace = HeadPace(.init(share: 1, longest: .milliseconds(4)))
        pace.read(took: .seconds(1))
        #expect(pace.pause == .milliseconds(4))
    }

    @Test func `where processors are short, reads that bring events wait for company`() {
        var head = HeadReader(settled: 0, .init())
        _ = head.started(as: .waker)
        for id in 1...10 {
            #expect(head.begin(isAsked: false, at: start) == .rows(after: EventID(Int64(id - 1))))
            #expect(head.sawRows([EventID(Int64(id))], isCut: false, took: .microseconds(100), at: start) == 1)
            let action = head.end(latched: nil, isAsked: false, areProcessorsShort: id > 5, at: start)
            #expect(action == (id > 5 ? .pause(.microseconds(400)) : .read(.take)))
            if id > 5 { #expect(head.timerFired() == .read(.leave)) }
        }
    }

    @Test func `whoever asks does not wait`() {
        var head = HeadReader(settled: 0, .init())
        _ = head.started(as: .waker)
        _ = head.begin(isAsked: false, at: start)
        _ = head.sawRows([1], isCut: false, took: .milliseconds(1), at: start)
        #expect(head.end(latched: nil, isAsked: true, areProcessorsShort: true, at: start) == .read(.leave))
    }
}
