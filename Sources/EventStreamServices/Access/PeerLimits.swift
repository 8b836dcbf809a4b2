/// What peers may ask of a server at most. Where there are no keys to tell users apart, each connection counts for one.
public struct PeerLimits: Hashable, Sendable {
    /// Connections of one socket, all users together.
    public var connections = 10_000
    /// Connections of one user to one socket.
    public var userConnections = 250
    /// Sessions of one user at one pusher.
    public var userSessions = 250
    /// Registered consumers of one user: each keeps events from being discarded. Without keys, of all.
    public var userConsumers = 1000
    /// Requests of one user a second; as many more are refused, the rest is dropped.
    public var userRequests = 100_000
    /// Bytes of one user's that wait at most: to be sent to it, or to be recorded for it.
    public var userBytes = 4 << 20

    public init() {}
}

/// Whom limits count for.
enum Account: Hashable, Sendable {
    case user(String)
    case connection(UInt64)
}
