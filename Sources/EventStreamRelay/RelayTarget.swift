import EventStream
import EventStreamServer
import FoundationEssentials

/// The endpoint that events are sent to.
struct RelayTarget: Hashable, Sendable, CustomStringConvertible {
    /// Maybe with a secret in its path.
    let url: String
    /// Without the brackets of an IPv6 address.
    let host: String
    private let origin: String

    /// - Parameters:
    ///   - insecure: whether the network is trusted.
    ///   - allowPrivate: whether an address may be none of the public internet.
    /// - Throws: an error that names the setting, and does not show what may be secret.
    init(_ text: String, insecure: Bool, allowPrivate: Bool) throws(ConfigurationError) {
        let example = "it is like https://example.com/hooks/stream"
        func wrong(_ what: String) -> ConfigurationError { ConfigurationError("EVT_RELAY_TO \(what)") }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }), let url = URL(string: text),
            let scheme = url.scheme?.lowercased(),
            ["http", "https"].contains(scheme), let host = url.host(percentEncoded: false), !host.isEmpty, url.fragment == nil
        else { throw wrong("is no URL of HTTP; \(example)") }
        guard url.user == nil, url.password == nil else {
            throw wrong("has a user or a password in it; requests are signed instead: set EVT_RELAY_SECRET")
        }
        self.url = text
        self.host = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        let address = NetworkAddress(self.host)
        // As it is written, so that everybody who reads the URL reads the same host.
        let isName = self.host.utf8.allSatisfy { $0.isASCIILetterOrDigit || "-._".utf8.contains($0) }
        let shown = self.host.contains(":") ? "[\(self.host)]" : self.host
        guard isName || address != nil, text.lowercased().hasPrefix("\(scheme)://\(shown.lowercased())") else {
            throw wrong("is no URL of HTTP; \(example)")
        }
        origin = "\(scheme)://\(shown)" + (url.port.map { ":\($0)" } ?? "")
        guard scheme == "https" || insecure || self.host == "localhost" || address?.isLoopback ?? false else {
            throw wrong("is not encrypted: use https://, or set EVT_INSECURE=true if the network is trusted")
        }
        guard allowPrivate || !(address?.isPrivate ?? false) else { throw wrong(RelayTarget.privacy(address!)) }
    }

    /// Why an address is refused.
    static func privacy(_ address: NetworkAddress) -> String {
        "leads to \(address), which is no address of the public internet: set EVT_RELAY_ALLOW_PRIVATE=true if that is meant"
    }

    /// Scheme, host and port: the path may be a secret.
    var description: String { origin }
}
