import Crypto
import EventStreamServer
import FoundationEssentials

/// What requests are signed with, so that the endpoint knows who has sent them: https://www.standardwebhooks.com
struct WebhookSecret: Hashable, Sendable, CustomStringConvertible {
    private let key: SymmetricKey

    /// Reads `whsec_` and the key in base64.
    ///
    /// - Throws: an error that names the setting, and shows nothing of the secret.
    init(_ text: String, of setting: String) throws(ConfigurationError) {
        let prefix = "whsec_"
        guard text.hasPrefix(prefix), let data = Data(base64Encoded: String(text.dropFirst(prefix.count))) else {
            throw ConfigurationError(
                "\(setting): a secret is whsec_ and a key in base64; make one: echo whsec_$(openssl rand -base64 32)")
        }
        guard (24...64).contains(data.count) else {
            throw ConfigurationError("\(setting): a secret has a key of 24 to 64 bytes, and this one has \(data.count)")
        }
        key = SymmetricKey(data: data)
    }

    /// Reads several, separated by commas.
    static func list(_ text: String, of setting: String) throws(ConfigurationError) -> [WebhookSecret] {
        var secrets: [WebhookSecret] = []
        for part in text.split(separator: ",") { secrets.append(try WebhookSecret(part.trimmed, of: setting)) }
        return secrets
    }

    /// The headers of a signed request; none without secrets.
    ///
    /// - Parameters:
    ///   - id: the same whenever the same is sent; without a full stop.
    ///   - timestamp: of this attempt, in seconds since 1970.
    static func headers(
        id: String, timestamp: Int64, body: [UInt8], secrets: [WebhookSecret]
    ) -> [(String, String)] {
        let content = Array("\(id).\(timestamp).".utf8) + body
        let signatures = secrets.map { secret in
            "v1,\(Data(HMAC<SHA256>.authenticationCode(for: content, using: secret.key)).base64EncodedString())"
        }
        let identity = [("webhook-id", id), ("webhook-timestamp", "\(timestamp)")]
        return identity + (signatures.isEmpty ? [] : [("webhook-signature", signatures.joined(separator: " "))])
    }

    /// The id of a request: an event's name, or one for these events together.
    static func id(of events: [CloudEvent]) -> String {
        guard events.count > 1 else { return events[0].name }
        let names = SHA256.hash(data: Array(events.map(\.name).joined(separator: " ").utf8))
        let digits = names.prefix(16).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        return "\(events[0].name)_\(digits)"
    }

    /// Never the secret.
    var description: String { "whsec_…" }

    func hash(into hasher: inout Hasher) { key.withUnsafeBytes { hasher.combine(bytes: $0) } }
}
