import EventStream
import EventStreamPusher
import EventStreamServer
import Testing

@Suite struct SleepLatchTests {
    private static let configuration = SleepLatch.Configuration(
        shortestPause: .milliseconds(1), longestPause: .milliseconds(20), longestSleep: .seconds(3))

    private let start = MonotonicTime.now

    private func started(as role: SleepLatch.Role, _ configuration: SleepLatch.Configuration = configuration) -> SleepLatch {
        var latch = SleepLatch(configuration, role: role)
        #expect(latch.started(as: role) == .read(.leave))
        return latch
    }

    /// A waker that has read everything, has the latch, and sleeps.
    private func asleep() -> SleepLatch {
        var latch = started(as: .waker)
        #expect(latch.dry() == .read(.take))
        #expect(latch.dry(latched: true) == .sleep(.seconds(3)))
        return latch
    }

    @Test func aWakerTakesTheLatchAndReadsOnceMoreBeforeItSleeps() {
        let latch = asleep()
        #expect(latch.holdsLatch)
    }

    @Test func whileWritersAreInFlightPausesDoubleUpToTheLongest() {
        var latch = started(as: .waker)
        #expect(latch.dry() == .read(.take))
        for milliseconds in [1, 2, 4, 8, 16, 20, 20] {
            #expect(latch.dry(latched: false) == .pause(.milliseconds(milliseconds)))
            #expect(latch.timerFired() == .read(.take))
        }
        #expect(latch.found() == .read(.take))
        #expect(latch.dry(latched: false) == .pause(.milliseconds(1)))
    }

    /// The seed's wait between polls grows to 3 s even while events flow.
    @Test(arguments: [SleepLatch.Role.waker, .listener, .poller])
    func pausesDoNotGrowWhileEventsFlow(role: SleepLatch.Role) {
        var latch = started(as: role)
        let pauses = (0..<100).map { _ in
            _ = latch.found()
            // An open transaction holds back what follows, and has the latch.
            let pause = latch.dry(latched: role == .waker ? false : nil, blocked: true)
            _ = latch.timerFired()
            return pause
        }
        #expect(Set(pauses) == [.pause(.milliseconds(1))])
    }

    @Test func pausesMayGrowByAStep() {
        var configuration = Self.configuration
        configuration.step = .milliseconds(7)
        var latch = started(as: .poller, configuration)
        for milliseconds in [1, 8, 15, 20] {
            #expect(latch.dry() == .pause(.milliseconds(milliseconds)))
            #expect(latch.timerFired() == .read(.leave))
        }
    }

    @Test func aFullPageIsFollowedByTheNextAtOnce() {
        var latch = started(as: .waker)
        #expect(latch.found(more: true) == .read(.leave))
        #expect(latch.found() == .read(.take))
    }

    @Test func theLatchIsKeptWhileWritersNotifyFarApart() {
        var latch = asleep()
        for (process, time) in [(1, 0), (2, 2), (1, 4), (1, 5), (1, 5), (2, 100)] {
            #expect(latch.notified(by: Int32(process), at: start + .milliseconds(time)) == .read(.leave))
            #expect(latch.found() == .sleep(.seconds(3)))
        }
        #expect(latch.notified(by: 2, at: start + .milliseconds(101)) == .read(.leave))
        #expect(latch.found(more: true) == .read(.leave))
        #expect(latch.woken() == nil)
        #expect(latch.found() == .read(.leave), "somebody has asked meanwhile")
        #expect(latch.found() == .sleep(.seconds(3)))
        #expect(latch.woken() == .read(.leave))
        #expect(latch.dry() == .sleep(.seconds(3)))
        #expect(latch.holdsLatch)
    }

    @Test func theLatchIsReleasedWhereWritersNotifyCloseTogether() {
        var latch = asleep()
        #expect(latch.notified(by: 1, at: start) == .read(.leave))
        #expect(latch.found() == .sleep(.seconds(3)))
        #expect(latch.notified(by: 2, at: start + .microseconds(1999)) == .read(.release))
        #expect(!latch.holdsLatch)
    }

    @Test func theLatchIsReleasedWhereAnotherWriterNotifiesDuringTheRead() {
        var latch = asleep()
        #expect(latch.notified(by: 1, at: start) == .read(.leave))
        #expect(latch.notified(by: 1, at: start + .microseconds(300)) == nil)
        #expect(latch.found() == .read(.leave))
        #expect(latch.notified(by: 2, at: start + .microseconds(600)) == nil)
        #expect(latch.found() == .read(.release))
        #expect(!latch.holdsLatch)
    }

    @Test func theLatchIsReleasedWhereRowsWaitBehindAGap() {
        var latch = asleep()
        #expect(latch.notified(by: 1, at: start) == .read(.leave))
        #expect(latch.didRead(foundRows: true, more: false, latched: nil, blocked: true) == .read(.release))
    }

    @Test func theLatchIsReleasedBehindAGapAlsoWherePausesAreCutShort() {
        var latch = asleep()
        #expect(latch.notified(by: 1, at: start) == .read(.leave))
        #expect(latch.dry(blocked: true) == .pause(.milliseconds(1)))
        #expect(latch.notified(by: 1, at: start + .milliseconds(9)) == .read(.release))
        #expect(latch.dry(blocked: true) == .pause(.milliseconds(1)), "only pauses that end by themselves grow")
    }

    @Test func theLatchIsReleasedWhereEventsWaitForCompany() {
        var latch = asleep()
        #expect(latch.notified(by: 1, at: start) == .read(.leave))
        #expect(
            latch.didRead(foundRows: true, company: .milliseconds(2), more: false, latched: nil, blocked: false)
                == .read(.release))
    }

    @Test func theLatchIsTakenAgainWhereNoPauseIsLong() {
        var configuration = Self.configuration
        configuration.step = .zero
        var latch = started(as: .waker, configuration)
        #expect(latch.dry() == .read(.take))
        #expect(latch.dry(latched: true) == .sleep(.seconds(3)))
        #expect(latch.notified(by: 1, at: start) == .read(.leave))
        #expect(latch.notified(by: 2, at: start) == nil)
        #expect(latch.found() == .read(.release))
        #expect(latch.dry() == .pause(.milliseconds(1)))
        #expect(latch.timerFired() == .read(.leave))
        #expect(latch.dry() == .pause(.milliseconds(1)))
        #expect(latch.timerFired() == .read(.take))
    }

    @Test func theLatchThatWasReleasedIsNotTakenBeforeAPauseHasBroughtNothing() {
        var latch = asleep()
        #expect(latch.notified(by: 1, at: start) == .read(.leave))
        #expect(latch.notified(by: 2, at: start) == nil)
        #expect(latch.dry() == .read(.release))
        for _ in 0..<3 {
            #expect(latch.found() == .read(.leave))
            #expect(latch.dry() == .pause(.milliseconds(1)))
            #expect(latch.timerFired() == .read(.leave))
        }
        #expect(latch.dry() == .pause(.milliseconds(2)))
        #expect(latch.timerFired() == .read(.take))
        #expect(latch.dry(latched: true) == .sleep(.seconds(3)))
        #expect(latch.notified(by: 3, at: start + .milliseconds(9)) == .read(.leave))
        #expect(latch.found() == .sleep(.seconds(3)))
    }

    @Test func theLatchIsReleasedWhenTheLastReadBeforeSleepFindsSomething() {
        var latch = started(as: .waker)
        #expect(latch.dry() == .read(.take))
        #expect(latch.found(latched: true) == .read(.release))
        #expect(!latch.holdsLatch)
    }

    @Test func theSafetyPollKeepsTheLatch() {
        var latch = asleep()
        #expect(latch.timerFired() == .read(.leave))
        #expect(latch.holdsLatch)
        #expect(latch.dry() == .sleep(.seconds(3)))
        #expect(latch.timerFired() == .read(.leave))
        #expect(latch.found() == .read(.release))
    }

    @Test func aNotificationDuringAReadCausesAnotherRead() {
        var latch = started(as: .waker)
        #expect(latch.woken() == nil)
        #expect(latch.dry() == .read(.take))
        #expect(latch.woken() == nil)
        #expect(latch.dry(latched: true) == .read(.release))
        #expect(latch.dry() == .read(.take))
    }

    @Test func aNotificationEndsAPause() {
        var latch = started(as: .poller)
        #expect(latch.dry() == .pause(.milliseconds(1)))
        #expect(latch.woken() == .read(.leave))
        #expect(latch.timerFired() == nil)
    }

    @Test func nobodySleepsWhileRowsWaitBehindAGap() {
        for role in [SleepLatch.Role.waker, .listener, .poller] {
            var latch = started(as: role)
            #expect(latch.dry(blocked: true) == .pause(.milliseconds(1)))
        }
        var latch = started(as: .waker)
        #expect(latch.dry() == .read(.take))
        #expect(latch.dry(latched: true, blocked: true) == .pause(.milliseconds(1)))
        // Writers need not notify while nobody sleeps.
        #expect(latch.timerFired() == .read(.release))
        #expect(latch.dry(blocked: true) == .pause(.milliseconds(2)))
        #expect(latch.timerFired() == .read(.leave))
        #expect(latch.dry() == .read(.take))
        #expect(latch.dry(latched: true) == .sleep(.seconds(3)))
    }

    @Test func aListenerThatWasNotToldOfEventsPollsUntilItIsToldAgain() {
        var latch = started(as: .listener)
        #expect(latch.dry() == .sleep(.seconds(3)))
        #expect(latch.timerFired() == .read(.leave))
        #expect(latch.dry() == .sleep(.seconds(3)), "nothing was missed")
        #expect(latch.timerFired() == .read(.leave))
        #expect(latch.didRead(foundRows: true, more: false, latched: nil, blocked: false) == .read(.leave))
        #expect(latch.dry() == .pause(.milliseconds(1)))
        #expect(latch.notified(by: 1, at: start) == .read(.leave))
        #expect(latch.dry() == .sleep(.seconds(3)))
    }

    @Test func aListenerNeverTouchesTheLatch() {
        var latch = started(as: .listener)
        #expect(latch.found() == .read(.leave))
        #expect(latch.dry() == .sleep(.seconds(3)))
        #expect(latch.woken() == .read(.leave))
        #expect(latch.dry() == .sleep(.seconds(3)))
        #expect(latch.timerFired() == .read(.leave))
        #expect(!latch.holdsLatch)
    }

    @Test func aPollerNeverSleepsNorTouchesTheLatch() {
        var latch = started(as: .poller)
        for _ in 0..<20 {
            guard case .pause = latch.dry() else { return #expect(Bool(false), "a poller must pause") }
            #expect(latch.timerFired() == .read(.leave))
        }
        #expect(latch.found() == .read(.leave))
    }

    @Test func aListenerThatWinsTheRoleTakesTheLatch() {
        var latch = started(as: .listener)
        #expect(latch.dry() == .sleep(.seconds(3)))
        latch.roleChanged(to: .waker)
        #expect(latch.timerFired() == .read(.leave))
        #expect(latch.dry() == .read(.take))
        #expect(latch.dry(latched: true) == .sleep(.seconds(3)))
    }

    @Test func aNewConnectionHoldsNoLatch() {
        var latch = asleep()
        #expect(latch.started(as: .waker) == .read(.leave))
        #expect(!latch.holdsLatch)
        #expect(latch.dry() == .read(.take))
    }
}

extension SleepLatch {
    fileprivate mutating func dry(latched: Bool? = nil, blocked: Bool = false) -> Action {
        didRead(foundRows: false, more: false, latched: latched, blocked: blocked)
    }

    fileprivate mutating func found(more: Bool = false, latched: Bool? = nil) -> Action {
        didRead(foundRows: true, more: more, latched: latched, blocked: false)
    }
}
