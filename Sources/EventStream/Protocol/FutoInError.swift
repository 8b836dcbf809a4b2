/// An error as it travels: a name others act on, and a text for people (FTN3 1.9).
public struct FutoInError: Error, Hashable, Sendable, CustomStringConvertible {
    public let name: String
    public let text: String

    public init(name: String, text: String) {
        self.name = name
        self.text = text
    }

    public var description: String { text.isEmpty ? name : "\(name): \(text)" }

    /// What servers answer with.
    public static let serverNames = [
        "UnknownInterface", "NotSupportedVersion", "NotImplemented", "InvalidRequest", "Unauthorized", "SecurityError",
        "DefenseRejected", "InternalError", "NotRegistered", "LiveNotAllowed", "ConsumerBusy", "ArchiveUnknown",
    ]

    // FTN3 1.9.1
    public static func unknownInterface(_ text: String) -> Self { .init(name: "UnknownInterface", text: text) }
    public static func notSupportedVersion(_ text: String) -> Self { .init(name: "NotSupportedVersion", text: text) }
    public static func notImplemented(_ text: String) -> Self { .init(name: "NotImplemented", text: text) }
    public static func invalidRequest(_ text: String) -> Self { .init(name: "InvalidRequest", text: text) }
    public static func unauthorized(_ text: String) -> Self { .init(name: "Unauthorized", text: text) }
    public static func securityError(_ text: String) -> Self { .init(name: "SecurityError", text: text) }
    /// Too much at once; the same later may do.
    public static func defenseRejected(_ text: String) -> Self { .init(name: "DefenseRejected", text: text) }
    public static func internalError(_ text: String) -> Self { .init(name: "InternalError", text: text) }
    /// The server could not be reached, or went silent, before it answered; made by clients only.
    public static func communicationError(_ text: String) -> Self { .init(name: "CommError", text: text) }
    public static func timeout(_ text: String) -> Self { .init(name: "Timeout", text: text) }

    // FTN18 3.3, and ours
    public static func notRegistered(_ text: String) -> Self { .init(name: "NotRegistered", text: text) }
    public static func liveNotAllowed(_ text: String) -> Self { .init(name: "LiveNotAllowed", text: text) }
    public static func archiveUnknown(_ text: String) -> Self { .init(name: "ArchiveUnknown", text: text) }
    public static func consumerBusy(_ text: String) -> Self { .init(name: "ConsumerBusy", text: text) }
}
