/// How long a session lives without a word from its peer (protocol, section 5).
public struct Lease: Hashable, Sendable {
    /// How long receivers and pushers wait for each other unless set (`EVT_SESSION_TIMEOUT`).
    public static let standardTimeout = Duration.seconds(15)

    public let timeout: Duration
    public private(set) var lastHeard: MonotonicTime
    /// Whether the peer's connection has closed since it was last heard.
    public private(set) var isDisconnected = false

    public init(timeout: Duration, at now: MonotonicTime) {
        self.timeout = timeout
        lastHeard = now
    }

    /// Any message from the peer renews the lease.
    public mutating func heard(at now: MonotonicTime) {
        lastHeard = now
        isDisconnected = false
    }

    /// The connection closed: the session waits for its peer, but keeps nobody out any more.
    public mutating func disconnected() { isDisconnected = true }

    public var deadline: MonotonicTime { lastHeard + timeout }
    public func hasEnded(at now: MonotonicTime) -> Bool { deadline <= now }
    /// Whether another peer that asks for the same consumer is turned away.
    public func keepsOthersOut(at now: MonotonicTime) -> Bool { !isDisconnected && !hasEnded(at: now) }
}
