import EventStream
import EventStreamPusher
import TestSupport
import Testing

@Suite struct AttemptsTests {
    private var attempts = Attempts(limit: 3)

    @Test mutating func anEventIsParkedWhenItHasFailedAsOftenAsItMay() {
        #expect(attempts.failed(7, isAlone: true, "a") == .again)
        #expect(attempts.failed(7, isAlone: true, "b") == .again)
        #expect(attempts.failed(7, isAlone: true, "c") == .park)
        #expect(attempts.failing == .init(7, isAlone: true, count: 3, error: "c"))
    }

    @Test mutating func anotherEventIsCountedAnew() {
        _ = (attempts.failed(7, isAlone: true, ""), attempts.failed(7, isAlone: true, ""))
        #expect(attempts.failed(8, isAlone: true, "") == .again)
        #expect(attempts.failing?.count == 1)
    }

    @Test mutating func theCountGoesOnInALaterSession() {
        attempts = Attempts(limit: 3, failing: .init(7, isAlone: true, count: 2, error: ""))
        #expect(attempts.isSuspect(7))
        #expect(!attempts.isSuspect(8))
        #expect(attempts.failed(7, isAlone: true, "") == .park)
    }

    @Test mutating func aGroupThatFailsIsTakenApartAndItsFirstEventIsCountedAnew() {
        for _ in 0..<2 { #expect(attempts.failed(7, isAlone: false, "") == .again) }
        #expect(attempts.failed(7, isAlone: false, "") == .isolate)
        for _ in 0..<2 { #expect(attempts.failed(7, isAlone: true, "") == .again) }
        #expect(attempts.failed(7, isAlone: true, "") == .park)
    }

    @Test mutating func whatAGroupDidSaysNothingAboutItsFirstEventInALaterSession() {
        attempts = Attempts(limit: 3, failing: .init(7, isAlone: false, count: 2, error: ""))
        #expect(attempts.isSuspect(7))
        #expect(attempts.failed(7, isAlone: true, "") == .again)
        #expect(attempts.failing?.count == 1)
    }

    @Test mutating func withoutALimitNothingIsParkedAndFailuresAreCounted() {
        attempts = Attempts(limit: 0)
        for _ in 0..<1000 { #expect(attempts.failed(7, isAlone: true, "") == .again) }
        #expect(attempts.failing?.count == 1000)
        #expect(!attempts.isSuspect(7))
    }

    @Test mutating func whatTheReceiverSaysIsCut() {
        _ = attempts.failed(7, isAlone: true, String(repeating: "x", count: 2000) + "\0")
        #expect(attempts.failing?.error.utf8.count == 1000)
        _ = attempts.failed(7, isAlone: true, "a\0b")
        #expect(attempts.failing?.error == "ab")
    }
}
