package import EventStream

/// How long a session lives without a word from its peer (protocol, section 5).
package struct Lease: Hashable, Sendable {
    /// `EVT_SESSION_TIMEOUT`; unless set ``standardSessionTimeout``.
    package let timeout: Duration
    package private(set) var lastHeard: MonotonicTime
    /// Whether the peer's connection has closed since it was last heard.
    package private(set) var isDisconnected = false

    package init(timeout: Duration, at now: MonotonicTime) {
        self.timeout = timeout
        lastHeard = now
    }

    /// Any message from the peer renews the lease.
    package mutating func heard(at now: MonotonicTime) {
        lastHeard = now
        isDisconnected = false
    }

    /// The connection closed: the session waits for its peer, but keeps nobody out any more.
    package mutating func disconnected() { isDisconnected = true }

    package var deadline: MonotonicTime { lastHeard + timeout }
    package func hasEnded(at now: MonotonicTime) -> Bool { deadline <= now }
    /// Whether another peer that asks for the same consumer is turned away.
    package func keepsOthersOut(at now: MonotonicTime) -> Bool { !isDisconnected && !hasEnded(at: now) }
}
