/// Where sockets bind and connect.
public struct Endpoints: Hashable, Sendable {
    public let list: [String]
    /// The permissions of `ipc://` endpoints' files.
    public var ipcMode: UInt32 = 0o600

    public init(_ list: [String]) { self.list = list }

    /// Reads endpoints separated by commas; an empty text is none.
    public init(_ text: String) {
        list = text.split(separator: ",").map { $0.trimmed }.filter { !$0.isEmpty }
    }

    public var isEmpty: Bool { list.isEmpty }

    /// Fails for an endpoint that other machines could reach: without keys only loopback and ipc are safe.
    ///
    /// - Parameter allowed: others may be reached nevertheless.
    public func requireLocal(setting: String, allowed: Bool) throws(ConfigurationError) {
        guard !allowed else { return }
        for endpoint in list where !Endpoints.isLocal(endpoint) {
            throw ConfigurationError(
                "\(setting): \(endpoint) can be reached from other machines, and there are no keys to keep strangers out; "
                    + "bind to 127.0.0.1, [::1] or ipc://, set EVT_CURVE_KEY and EVT_AUTHORIZED_KEYS, or EVT_INSECURE=true if the "
                    + "network is trusted")
        }
    }

    static func isLocal(_ endpoint: String) -> Bool {
        if endpoint.hasPrefix("ipc://") || endpoint.hasPrefix("inproc://") { return true }
        guard endpoint.hasPrefix("tcp://") else { return false }
        let address = endpoint.dropFirst("tcp://".count)
        guard let colon = address.lastIndex(of: ":") else { return false }
        let host = address[..<colon]
        if ["localhost", "[::1]", "::1", "lo"].contains(host) { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}

/// A setting that cannot be used.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    public let message: String
    public init(_ message: String) { self.message = message }
    public var description: String { message }
}

extension Substring {
    var trimmed: String {
        var text = self
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
