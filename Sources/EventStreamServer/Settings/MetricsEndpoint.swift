/// A host and a port for HTTP.
package struct MetricsEndpoint: Hashable, Sendable, CustomStringConvertible {
    package let host: String
    package let port: Int

    /// Reads `host:port`, with `[…]` around an IPv6 address; nil for anything else.
    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]), (0...65_535).contains(port)
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") }) else { return nil }
        (self.host, self.port) = (String(host), port)
    }

    fileprivate init(host: String, port: Int) { (self.host, self.port) = (host, port) }

    /// - Throws: an error that names the setting.
    package init(_ text: String, of setting: String) throws(ConfigurationError) {
        guard let endpoint = MetricsEndpoint(text) else {
            throw ConfigurationError("\(setting): \(shown(text)) is no host:port; it is like 127.0.0.1:9570 or [::1]:9570")
        }
        self = endpoint
    }

    /// The same host, with another port.
    package func with(port: Int) -> MetricsEndpoint { MetricsEndpoint(host: host, port: port) }

    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

extension Role {
    /// Where its metrics are unless set.
    package var standardMetricsBind: MetricsEndpoint {
        MetricsEndpoint(host: "127.0.0.1", port: 9570 + Role.allCases.firstIndex(of: self)!)
    }
}

extension SettingsReader {
    /// Where a process serves its metrics; nil for nowhere.
    ///
    /// - Parameter role: of the process, or the first of several.
    package func metricsBind(_ role: Role) throws(ConfigurationError) -> MetricsEndpoint? {
        let setting = Settings.all.metricsBind.facts
        let text = text(setting) ?? "\(role.standardMetricsBind)"
        guard !text.isEmpty else { return nil }
        let endpoint = try MetricsEndpoint(text, of: setting.name)
        guard try self.insecure || Endpoints.isLocal("tcp://\(endpoint)") else {
            throw ConfigurationError(
                "EVT_METRICS_BIND: \(endpoint) can be reached from other machines, and everyone there could read it: bind to "
                    + "127.0.0.1 or [::1], or set EVT_INSECURE=true if the network is trusted")
        }
        return endpoint
    }
}
