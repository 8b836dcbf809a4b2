package import EventStream
import Logging

/// A program that reads settings.
package enum Program: String, Hashable, CaseIterable, Sendable, CustomStringConvertible {
    case generator = "evt-generator"
    case pusher = "evt-pusher"
    case archiver = "evt-archiver"
    case discarder = "evt-discarder"
    case relay = "evt-relay"
    case evt
    package var description: String { rawValue }
}

/// Settings that belong together: one section of the reference page, and one group of flags.
package enum SettingGroup: String, Hashable, CaseIterable, Sendable {
    case common = "Every program"
    case process = "Metrics and safety"
    case database = "Active database"
    case archive = "Warehouse"
    case generator = "Generator"
    case pusher = "Pusher"
    case archiver = "Archiver"
    case discarder = "Discarder"
    case relay = "Relay"
    case keys = "Keys"
    case sockets = "Sockets and limits"
    case connect = "Clients"
    case doctor = "Doctor"
    case inbox = "Inbox"

    /// The programs that read the settings of the group, unless a setting says otherwise.
    package var readers: [Program] {
        switch self {
        case .common: Program.allCases
        case .process: [.generator, .pusher, .archiver, .discarder, .relay]
        case .database: [.generator, .pusher, .discarder, .evt]
        case .archive: [.pusher, .archiver, .discarder, .evt]
        case .generator: [.generator]
        case .pusher: [.pusher]
        case .archiver: [.archiver]
        case .discarder: [.discarder]
        case .relay: [.relay]
        case .keys: [.generator, .pusher, .archiver, .relay, .evt]
        case .sockets: [.generator, .pusher]
        case .connect: [.archiver, .relay, .evt]
        case .doctor: [.evt]
        case .inbox: [.evt]
        }
    }
}

/// One thing that can be set: by a flag, an environment variable or a line in a file, in this order.
package struct Setting<Value: Sendable>: Sendable {
    /// What the flags, the reference page and messages say of the setting.
    package let facts: SettingFacts
    /// The value unless set; nil, or empty, where the setting must be set or is simply absent.
    package let standard: Value
    let kind: SettingKind<Value>

    init(
        _ name: String, _ kind: SettingKind<Value>, default standard: Value, _ group: SettingGroup, readBy: [Program]? = nil,
        flag: String? = nil, _ meaning: String
    ) {
        facts = SettingFacts(
            name: name, meaning: meaning, range: kind.range, standard: kind.write(standard), group: group,
            readers: readBy ?? group.readers,
            flag: flag ?? name.dropFirst("EVT_".count).lowercased().replacing("_", with: "-"))
        self.standard = standard
        self.kind = kind
    }
}

package struct SettingFacts: Hashable, Sendable, CustomStringConvertible {
    /// The environment variable, and the key in a file.
    package let name: String
    package let meaning: String
    /// The values that fit, with their unit; nil where the meaning says it.
    package let range: String?
    /// The default as it would be written; nil for none.
    package let standard: String?
    package let group: SettingGroup
    package let readers: [Program]
    /// The flag: `EVT_ACK_TIMEOUT` is `--ack-timeout`.
    package let flag: String

    package var description: String { name }
}

/// How the values of a setting are read and written, and which of them fit.
struct SettingKind<Value: Sendable>: Sendable {
    var range: String?
    let write: @Sendable (Value) -> String?
    /// Nil for a text that does not fit; throws where more can be said. The second parameter is the name of the setting.
    let read: @Sendable (String, String) throws(ConfigurationError) -> Value?
}

extension SettingKind where Value == Int {
    static func integer(_ range: ClosedRange<Int>, _ unit: String) -> Self {
        SettingKind(range: "\(range.lowerBound) to \(range.upperBound) \(unit)") {
            "\($0)"
        } read: { text, _ in
            Int(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }
}

extension SettingKind where Value == UInt32 {
    /// Permissions of a file.
    static let mode = SettingKind(range: "0 to 777, octal") {
        String($0, radix: 8)
    } read: { text, _ in
        UInt32(text, radix: 8).flatMap { (1...4).contains(text.utf8.count) && $0 <= 0o777 ? $0 : nil }
    }
}

extension SettingKind where Value == Duration {
    static func duration(_ range: ClosedRange<Duration>) -> Self {
        SettingKind(range: "\(range.lowerBound.text) to \(range.upperBound.text)") {
            $0.text
        } read: { text, _ in
            Duration(text: text).flatMap { range.contains($0) ? $0 : nil }
        }
    }
}

extension SettingKind where Value == Bool {
    static let bool = SettingKind(range: "true or false") {
        "\($0)"
    } read: { text, _ in
        switch text.lowercased() {
        case "true", "yes", "on", "1": true
        case "false", "no", "off", "0", "": false
        default: nil
        }
    }
}

extension SettingKind where Value: CaseIterable & RawRepresentable<String> {
    static var choice: Self {
        let words = Value.allCases.map(\.rawValue)
        return SettingKind(range: words.dropLast().joined(separator: ", ") + " or " + words.last!) {
            $0.rawValue
        } read: { text, _ in
            Value(rawValue: text)
        }
    }
}

extension SettingKind where Value == Logger.Level {
    static let logLevel: Self = {
        let levels = SettingKind.choice
        return SettingKind(range: levels.range, write: levels.write) { (text, name) throws(ConfigurationError) in
            try levels.read(text.lowercased(), name)
        }
    }()
}

extension SettingKind where Value == String? {
    static let text = SettingKind {
        $0
    } read: { text, _ in
        .some(text.isEmpty ? nil : text)
    }
}

extension SettingKind where Value == TableName {
    static let table = SettingKind {
        $0.description
    } read: { text, _ in
        TableName(text)
    }
}

extension SettingKind where Value == Endpoints {
    static func endpoints(binding: Bool) -> Self {
        SettingKind {
            $0.list.joined(separator: ",")
        } read: { (text, name) throws(ConfigurationError) in
            let endpoints = try Endpoints(text, of: name, binding: binding)
            return endpoints.isEmpty && !(binding && text.isEmpty) ? nil : endpoints
        }
    }
}

extension SettingKind where Value == [MetricsEndpoint] {
    static let metricsEndpoints = SettingKind {
        $0.map(\.description).joined(separator: ",")
    } read: { (text, name) throws(ConfigurationError) in
        var endpoints: [MetricsEndpoint] = []
        for part in text.split(separator: ",").map({ $0.trimmed }) where !part.isEmpty {
            endpoints.append(try MetricsEndpoint(part, of: name))
        }
        if let twice = endpoints.firstDuplicate { throw ConfigurationError("\(name): \(twice) is named twice") }
        return endpoints
    }
}

extension SettingKind where Value == ConsumerIdentity {
    static let consumer = SettingKind {
        $0.user == ConsumerIdentity.localUser ? $0.component.description : $0.description
    } read: { (text, name) throws(ConfigurationError) in
        guard let consumer = ConsumerIdentity(text), !consumer.component.isLive else {
            throw ConfigurationError(
                "\(name): \(shown(text)) is no component name: 1 to 16 of A-Z, a-z, 0-9 and _, with keys after the user's name and a "
                    + "colon")
        }
        return consumer
    }
}

extension SettingKind where Value == EventFilter {
    static let eventTypes = SettingKind {
        $0.entries?.joined(separator: ",")
    } read: { (text, name) throws(ConfigurationError) in
        text.isEmpty ? .all : try eventFilter(text, of: name)
    }
}

extension SettingKind {
    /// The same, where an empty value stands for none.
    func orNone() -> SettingKind<Value?> {
        SettingKind<Value?>(range: range) {
            $0.flatMap(write)
        } read: { (text, name) throws(ConfigurationError) in
            text.isEmpty ? .some(nil) : try read(text, name).map(Optional.some)
        }
    }
}

/// Reads event types separated by commas.
package func eventFilter(_ text: String, of name: String) throws(ConfigurationError) -> EventFilter {
    guard let filter = EventFilter(entries: text.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmed })
    else {
        throw ConfigurationError("\(name): \(shown(text)) is no list of event types: \(EventFilter.rule)")
    }
    return filter
}
