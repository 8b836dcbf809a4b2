import PosixLoop
import TestSupport
import Testing

struct TimerTests {
    @Test func timersFireInTheOrderOfTheirDeadlines() async throws {
        try await onLoop { loop in
            let fired = Log<Int>()
            for delay in [600, 200, 0, 400, 100, 300] {
                loop.schedule(after: .milliseconds(delay)) { fired.add(delay) }
            }
            try await eventually("all have fired") { fired.count == 6 }
            #expect(fired.entries == [0, 100, 200, 300, 400, 600])
        }
    }

    @Test func timersOfOneDelayFireInTheOrderTheyWereScheduled() async throws {
        try await onLoop { loop in
            let fired = Log<Int>()
            for number in 0..<500 { loop.schedule(after: .milliseconds(5)) { fired.add(number) } }
            try await eventually("all have fired") { fired.count == 500 }
            #expect(fired.entries == Array(0..<500))
        }
    }

    @Test func aTimerNeverFiresEarly() async throws {
        try await onLoop { loop in
            let early = Log<Bool>()
            for delay in stride(from: 100, through: 10_000, by: 700) {
                let due = MonotonicInstant.now + .microseconds(delay)
                loop.schedule(after: .microseconds(delay)) { early.add(MonotonicInstant.now < due) }
            }
            try await eventually("all have fired") { early.count == 15 }
            #expect(!early.entries.contains(true))
        }
    }

    @Test func aCancelledTimerDoesNotFire() async throws {
        try await onLoop { loop in
            let fired = Log<String>()
            let cancelled = loop.schedule(after: .milliseconds(100)) { fired.add("cancelled") }
            let cancelledLate = loop.schedule(after: .milliseconds(400)) { fired.add("cancelled by another") }
            loop.schedule(after: .milliseconds(200)) {
                fired.add("kept")
                cancelledLate.cancel()
            }
            cancelled.cancel()
            cancelled.cancel()
            loop.schedule(after: .milliseconds(600)) { fired.add("last") }
            try await eventually("the last has fired") { fired.entries.last == "last" }
            #expect(fired.entries == ["kept", "last"])
        }
    }

    @Test func aTimerFiresOnceAndMayBeCancelledAfterwards() async throws {
        try await onLoop { loop in
            let fired = Log<Int>()
            let timer = loop.schedule(after: .zero) { fired.add(1) }
            loop.schedule(after: .milliseconds(5)) { fired.add(2) }
            try await eventually("both have fired") { fired.count == 2 }
            timer.cancel()
            #expect(fired.entries == [1, 2])
        }
    }

    @Test func aTimerMayScheduleTheNextWithoutStarvingOtherWork() async throws {
        try await onLoop { loop in
            let ticks = Log<Int>()
            var stopped = false
            func tick() {
                ticks.add(1)
                if !stopped { loop.schedule(after: .zero) { tick() } }
            }
            tick()
            // This code itself only goes on because the loop comes round to it between the timers.
            try await eventually("many have fired") { ticks.count > 100 }
            stopped = true
        }
    }

    @Test func aDelayLongerThanPollCanWaitDoesNotFireAtOnce() async throws {
        try await onLoop { loop in
            let fired = Log<String>()
            let far = loop.schedule(after: .seconds(86_400 * 365 * 10)) { fired.add("far") }
            loop.schedule(after: .milliseconds(5)) { fired.add("near") }
            try await eventually("the near one has fired") { fired.count > 0 }
            #expect(fired.entries == ["near"])
            far.cancel()
        }
    }
}
