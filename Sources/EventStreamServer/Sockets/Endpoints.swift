import Glibc

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

    /// - Throws: an error that names the setting and the endpoint that libzmq cannot use.
    package init(_ text: String, of setting: String, binding: Bool) throws(ConfigurationError) {
        self.init(text)
        for endpoint in list {
            guard let complaint = Endpoints.complaint(about: endpoint, binding: binding) else { continue }
            throw ConfigurationError("\(setting): \(shown(endpoint)) \(complaint)")
        }
        if let twice = list.filter({ !$0.hasSuffix(":*") && !$0.hasSuffix(":0") && $0 != "ipc://*" }).firstDuplicate {
            throw ConfigurationError("\(setting): \(shown(twice)) is named twice")
        }
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

    /// What is wrong with an endpoint, in words; nil for one that libzmq can use.
    ///
    /// - Parameter binding: to listen there, where a port may be chosen by the system; else to connect.
    package static func complaint(about endpoint: String, binding: Bool) -> String? {
        let example = "one is like tcp://127.0.0.1:5571, tcp://[::1]:5571 or ipc:///run/evt"
        guard let scheme = endpoint.firstRange(of: "://") else { return "is no endpoint; \(example)" }
        let address = endpoint[scheme.upperBound...]
        guard address.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            return "is no endpoint: it has a blank in it; \(example)"
        }
        switch endpoint[..<scheme.lowerBound] {
        case "ipc":
            // What a socket's address holds (unix(7)), with its end.
            guard (1...107).contains(address.utf8.count) else { return "is no endpoint: a path has 1 to 107 bytes; \(example)" }
            return nil
        case "inproc": return address.isEmpty ? "is no endpoint: it has no name" : nil
        case "tcp": break
        default: return "is no endpoint: the transports are tcp, ipc and inproc; \(example)"
        }
        guard let colon = address.lastIndex(of: ":") else { return "is no endpoint: it has no port; \(example)" }
        let (host, port) = (address[..<colon], address[address.index(after: colon)...])
        let isNumber = port.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard binding && port == "*" || isNumber && (binding ? 0...65_535 : 1...65_535).contains(Int(port) ?? -1) else {
            return "is no endpoint: a port is a number from 1 to 65535; \(example)"
        }
        // Connecting, a local address with a port may stand in front.
        if !binding, let semicolon = host.firstIndex(of: ";") {
            return complaint(about: "tcp://\(host[..<semicolon])", binding: true)
                ?? complaint(about: "tcp://\(address[address.index(after: semicolon)...])", binding: false)
        }
        guard isHost(host, binding: binding) else {
            return "is no endpoint: \(host.isEmpty ? "it has no host" : "\(host) is no host"); \(example)"
        }
        return nil
    }

    private static func isHost(_ text: Substring, binding: Bool) -> Bool {
        var address = in6_addr()
        if text == "*" { return binding }
        if text.hasPrefix("["), text.hasSuffix("]") {
            let inner = text.dropFirst().dropLast().prefix { $0 != "%" }
            return inner == "*" && binding || inet_pton(AF_INET6, String(inner), &address) == 1
        }
        guard !text.isEmpty, !text.contains(where: { "/;[]".contains($0) }) else { return false }
        // libzmq takes this form, too.
        if text.contains(":") { return inet_pton(AF_INET6, String(text.prefix { $0 != "%" }), &address) == 1 }
        guard text.utf8.allSatisfy({ $0 == UInt8(ascii: ".") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            return true
        }
        return inet_pton(AF_INET, String(text), &address) == 1
    }

    package static func isLocal(_ endpoint: String) -> Bool {
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

extension SettingsReader {
    /// Where a server listens.
    package func bound(_ setting: KeyPath<Settings, Setting<Endpoints>>) throws(ConfigurationError) -> Endpoints {
        var bound = try self[dynamicMember: setting]
        for endpoint in bound.list where endpoint.hasPrefix("tcp://localhost:") {
            throw ConfigurationError(
                "\(Settings.all[keyPath: setting].facts.name): \(endpoint): ZeroMQ binds to addresses, not to names; that is "
                    + "tcp://127.0.0.1:… or tcp://[::1]:…")
        }
        bound.ipcMode = try self.ipcMode
        return bound
    }
}

extension Array where Element: Hashable {
    /// The first element that is there twice.
    package var firstDuplicate: Element? {
        var seen: Set<Element> = []
        return first { !seen.insert($0).inserted }
    }
}

/// A setting that cannot be used.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    public let message: String
    public init(_ message: String) { self.message = message }
    public var description: String { message }
}

extension Substring {
    package var trimmed: String {
        var text = self
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
