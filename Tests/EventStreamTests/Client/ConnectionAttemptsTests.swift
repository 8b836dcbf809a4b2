import EventStream
import Testing

@testable import EventStreamClient

struct ConnectionAttemptsTests {
    @Test func pausesGrowWhileNoHandshakeSucceeds() {
        var attempts = ConnectionAttempts(["a"])
        #expect(attempts.pause == .milliseconds(50))
        for longest in [50, 100, 200, 400, 800, 1000, 1000] {
            attempts.lost()
            #expect(attempts.pause <= .milliseconds(longest) && attempts.pause >= .milliseconds(longest) * 0.69)
        }
        attempts.handshakeSucceeded()
        attempts.lost()
        #expect(attempts.pause <= .milliseconds(50))
    }

    @Test func endpointsTakeTurnsAndOnlyALossLengthensThePause() {
        var attempts = ConnectionAttempts(["a", "b"])
        var seen = [attempts.endpoint]
        attempts.moveOn()
        seen.append(attempts.endpoint)
        #expect(attempts.pause == .milliseconds(50))
        attempts.lost()
        #expect(seen + [attempts.endpoint] == ["a", "b", "a"])
    }

    @Test func aHandshakeThatFailsAtOnceIsARefusalAndALateOneIsNot() {
        var attempts = ConnectionAttempts(["a"])
        let now = MonotonicTime.now
        #expect(attempts.absence(isKeyed: true).contains("nobody answers"))
        attempts.connected(at: now)
        attempts.handshakeFailed(at: now + .seconds(1))
        #expect(attempts.absence(isKeyed: true).contains("a refuses"))
        #expect(attempts.absence(isKeyed: false).contains("does not speak with peers without keys"))
        attempts.connected(at: now)
        attempts.handshakeFailed(at: now + .seconds(4))
        #expect(attempts.absence(isKeyed: true).contains("nobody answers"))
    }
}
