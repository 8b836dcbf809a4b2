/// What peers may ask of a server at most. Where there are no keys to tell users apart, each connection counts for one.
public struct PeerLimits: Hashable, Sendable {
    /// Connections of one socket, all users together.
    public var connections = Settings.all.maxConnections.standard
    /// Connections of one user to one socket.
    public var userConnections = Settings.all.userConnections.standard
    /// Sessions of one user at one pusher.
    public var userSessions = Settings.all.userSessions.standard
    /// Registered consumers of one user: each keeps events from being discarded. Without keys, of all.
    public var userConsumers = Settings.all.userConsumers.standard
    /// Requests of one user a second; as many more are refused, the rest is dropped.
    public var userRequests = Settings.all.userRequests.standard
    /// Bytes of one user's that wait at most: to be sent to it, or to be recorded for it.
    public var userBytes = Settings.all.userBytes.standard

    public init() {}
}

extension SettingsReader {
    package func peerLimits() throws(ConfigurationError) -> PeerLimits {
        var limits = PeerLimits()
        limits.connections = try self.maxConnections
        limits.userConnections = try self.userConnections
        limits.userSessions = try self.userSessions
        limits.userConsumers = try self.userConsumers
        limits.userRequests = try self.userRequests
        limits.userBytes = try self.userBytes
        return limits
    }
}

/// Whom limits count for.
package enum Account: Hashable, Sendable {
    case user(String)
    case connection(UInt64)
}
