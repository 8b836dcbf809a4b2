import EventStream
import PosixLoop

/// Where the next connection to a server goes, after which pause, and why there is none.
struct ConnectionAttempts {
    private let endpoints: [String]
    private var index = 0
    private var backoff = Backoff(first: .milliseconds(50), longest: .seconds(1))
    /// How long to wait before the next attempt: a server that refuses us does so the next time, too, as a rule.
    private(set) var pause = Duration.milliseconds(50)
    private var connectedAt: MonotonicTime?
    /// The handshake has failed since there was a connection last.
    private var isRefused = false

    /// - Parameter endpoints: where the server is, one or several alternatives; not empty.
    init(_ endpoints: [String]) { self.endpoints = endpoints.isEmpty ? [""] : endpoints }

    /// Where the present connection goes.
    var endpoint: String { endpoints[index % endpoints.count] }
    var hasAlternatives: Bool { endpoints.count > 1 }

    /// Why there is no connection, as far as can be told.
    ///
    /// - Parameter isKeyed: whether the client has keys.
    func absence(isKeyed: Bool) -> String {
        guard isRefused else { return "nobody answers at \(endpoint)" }
        return isKeyed
            ? "\(endpoint) refuses: is EVT_SERVER_KEY its public key, and is ours among its authorized keys, with the right to this?"
            : "\(endpoint) does not speak with peers without keys: set EVT_CURVE_KEY and EVT_SERVER_KEY"
    }

    /// There is a connection, whose handshake has yet to be made.
    mutating func connected(at now: MonotonicTime) { connectedAt = now }

    /// One that refuses does so at once; one that is frozen lets the time of the handshake pass.
    mutating func handshakeFailed(at now: MonotonicTime) { isRefused = connectedAt.map { now - $0 < .seconds(3) } ?? true }

    mutating func handshakeSucceeded() {
        isRefused = false
        backoff.reset()
    }

    /// The connection is given up.
    mutating func lost() {
        pause = backoff.next()
        moveOn()
    }

    /// Nobody was there, or somebody who does not shake hands: another may be.
    mutating func moveOn() { index += 1 }
}
