import EventStream
import Logging
import Testing

@testable import EventStreamServer

@Suite("Log lines that peers cause")
struct PeerLogTests {
    private let start = MonotonicTime.now
    private let alice = Account.user("alice")

    @Test("a burst is told, then one line an interval, which says how many were left out")
    func burst() {
        var log = PeerLog(each: .init(burst: 3, interval: .seconds(10)))
        for _ in 0..<3 { #expect(log.line("session", of: alice, at: start)?.suppressed == 0) }
        for _ in 0..<50_000 { #expect(log.line("session", of: alice, at: start) == nil) }
        #expect(log.line("session", of: alice, at: start + .seconds(9)) == nil)
        #expect(log.line("session", of: alice, at: start + .seconds(10))?.suppressed == 50_001)
        #expect(log.line("session", of: alice, at: start + .seconds(10)) == nil)
        #expect(log.line("session", of: alice, at: start + .seconds(20))?.suppressed == 1)
    }

    @Test("a whole burst is there again after a quiet while, and no more")
    func quiet() {
        var log = PeerLog(each: .init(burst: 3, interval: .seconds(10)))
        for _ in 0..<3 { _ = log.line("session", of: alice, at: start) }
        let lines = (0..<10).map { _ in log.line("session", of: alice, at: start + .seconds(3600)) }
        #expect(lines.filter { $0 != nil }.count == 3)
    }

    @Test("one peer's lines leave another's, and another kind's, alone")
    func apart() {
        var log = PeerLog()
        for _ in 0..<1000 { _ = log.line("session", of: alice, at: start) }
        #expect(log.line("session", of: .user("bob"), at: start)?.suppressed == 0)
        #expect(log.line("failure", of: alice, at: start)?.suppressed == 0)
        #expect(log.line("session", of: .address("alice"), at: start)?.suppressed == 0)
    }

    @Test("peers that come again and again under new names are bounded all together, in lines and in memory")
    func crowd() {
        var log = PeerLog(all: .init(burst: 100, interval: .seconds(1)), limit: 64)
        var told = 0
        for number in 0..<100_000 where log.line("session", of: .connection(UInt64(number)), at: start) != nil { told += 1 }
        #expect(told == 100)
        #expect(log.count <= 64)
        // Those who were forgotten are not lost to the count.
        let next = log.line("session", of: alice, at: start + .seconds(1))
        #expect((next?.suppressed ?? 0) > 99_900 - 64)
    }

    @Test("a peer that is remembered keeps its limit while others come and go")
    func remembered() {
        var log = PeerLog(each: .init(burst: 1, interval: .seconds(10)), limit: 8)
        var told = 0
        for number in 0..<1000 {
            let now = start + .milliseconds(number)
            if log.line("session", of: alice, at: now) != nil { told += 1 }
            _ = log.line("session", of: .connection(UInt64(number)), at: now)
        }
        #expect(told == 1)
    }

    @Test("a clock that stands still, or is given out of order, changes nothing")
    func clock() {
        var log = PeerLog(each: .init(burst: 1, interval: .seconds(10)))
        #expect(log.line("session", of: alice, at: start) != nil)
        #expect(log.line("session", of: alice, at: start - .seconds(3600)) == nil)
        #expect(log.line("session", of: alice, at: start) == nil)
    }

    @Test("the number of those left out is among the metadata only if there are any")
    func metadata() {
        #expect(PeerLog.Line(suppressed: 0).metadata([.user: "alice"]) == [.user: "alice"])
        #expect(PeerLog.Line(suppressed: 2).metadata([.user: "alice"]) == [.user: "alice", .suppressed: "2"])
    }
}
