import EventStream
import Testing

@Suite struct SettledTimesTests {
    private func time(_ seconds: Int64) -> EventTimestamp { EventTimestamp(microseconds: seconds * 1_000_000) }
    private func mark(_ id: Int64, _ since: Int64, _ at: Int64) -> SettledMark {
        SettledMark(id: EventID(id), since: time(since), at: time(at))
    }
    private let year: Int64 = 365 * 86_400

    private func times(_ marks: SettledMark...) -> SettledTimes {
        var times = SettledTimes()
        for mark in marks { times.settled(mark) }
        return times
    }

    @Test func anOrdinaryEventWaitsSinceItWasRecorded() {
        let times = times(mark(10, 0, 100), mark(20, 997, 1000))
        #expect(times.waitingSince(EventID(15), time(998), now: time(2000)) == time(998))
        #expect(times.waitingSince(EventID(15), time(300), now: time(2000)) == time(300))
        #expect(times.waitingSince(EventID(30), time(1500), now: time(2000)) == time(1500))
    }

    @Test func whatIsRecordedWithATimeOfYearsAgoWaitsSinceItCouldBeDelivered() {
        let times = times(mark(10, 0, 100_000), mark(20, 200_000, 200_003))
        #expect(times.waitingSince(EventID(20), time(200_000 - 8 * year), now: time(200_010)) == time(200_000))
        // Nothing is known of it yet.
        #expect(times.waitingSince(EventID(21), time(200_000 - 8 * year), now: time(200_010)) == time(200_010))
    }

    @Test func whatIsRecordedWithATimeToComeWaitsNevertheless() {
        let times = times(mark(10, 0, 100), mark(20, 197, 200))
        #expect(times.waitingSince(EventID(20), time(300 + year), now: time(300)) == time(200))
    }

    @Test func manyMarksBecomeFewAndTheNewestStay() {
        var times = SettledTimes(limit: 100)
        for second in Int64(1)...10_000 { times.settled(mark(second * 10, second - 1, second)) }
        #expect(times.waitingSince(EventID(99_995), time(0), now: time(20_000)) == time(9999))
        // An early one's is known less exactly, but never by more than the marks around it say.
        let early = times.waitingSince(EventID(5), time(0), now: time(20_000))
        #expect(early >= time(0) && early < time(10_000))
    }

    @Test func whatOthersHaveNotedComesBeforeWhatWasSeenHere() {
        var times = times(mark(20, 197, 200))
        times.loaded([mark(5, 90, 100), mark(10, 147, 150), mark(20, 190, 203)])
        #expect(times.waitingSince(EventID(7), time(0), now: time(300)) == time(147))
        #expect(times.waitingSince(EventID(15), time(0), now: time(300)) == time(197))
    }
}
