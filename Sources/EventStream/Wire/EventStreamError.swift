/// An error as it travels: a name others act on, and a text for people (FTN3 1.9).
public struct EventStreamError: Error, Hashable, Sendable, CustomStringConvertible {
    public let name: String
    public let text: String

    public init(name: String, text: String) {
        self.name = name
        self.text = text
    }

    /// What the name stands for; nil for a name of others.
    public var code: Code? { Code(rawValue: name) }

    public var description: String { text.isEmpty ? name : "\(name): \(text)" }

    /// The names that there are: of FTN3 1.9.1 and FTN18 3.3, and ours. `evt docs errors` prints this table.
    public enum Code: String, Hashable, Sendable, CaseIterable {
        case unknownInterface = "UnknownInterface"
        case notSupportedVersion = "NotSupportedVersion"
        case notImplemented = "NotImplemented"
        case invalidRequest = "InvalidRequest"
        case unauthorized = "Unauthorized"
        case securityError = "SecurityError"
        case defenseRejected = "DefenseRejected"
        case internalError = "InternalError"
        case notRegistered = "NotRegistered"
        case liveNotAllowed = "LiveNotAllowed"
        case consumerBusy = "ConsumerBusy"
        case archiveUnknown = "ArchiveUnknown"
        case historyUnavailable = "HistoryUnavailable"
        case consumerPaused = "ConsumerPaused"
        case idempotencyConflict = "IdempotencyConflict"
        case communicationError = "CommError"
        case timeout = "Timeout"

        public var meaning: String { row.meaning }
        /// Whether the same call may succeed later.
        public var isRetriable: Bool { row.isRetriable }

        private var row: (meaning: String, isRetriable: Bool) {
            switch self {
            case .unknownInterface: ("The endpoint does not offer the interface.", false)
            case .notSupportedVersion: ("The endpoint does not offer this version of the interface.", false)
            case .notImplemented: ("The interface has no such function.", false)
            case .invalidRequest:
                (
                    "The request is malformed, too large, or has a missing, unknown or invalid parameter; or the database refuses "
                        + "the event, for example by a constraint.", false
                )
            case .unauthorized: ("The user does not have the right that the call needs.", false)
            case .securityError: ("The function is switched off in the configuration of the server.", false)
            case .defenseRejected: ("A limit of the user or of the server is exceeded.", true)
            case .internalError:
                (
                    "The server failed, or cannot reach the database. If the outcome of a commit is unknown, the text says so.",
                    true
                )
            case .notRegistered: ("The consumer is not registered.", false)
            case .liveNotAllowed: ("The call is not possible for the component LIVE.", false)
            case .consumerBusy: ("Another receiver has the session of the consumer.", true)
            case .archiveUnknown:
                ("The active database does not know the token of the archive: the warehouse belongs to another database.", false)
            case .historyUnavailable:
                (
                    "The next events of the consumer are discarded, and the pusher cannot read them from an archive. The text names the "
                        + "least id after which a consumer can begin.", true
                )
            case .consumerPaused: ("An operator has paused the consumer: `evt consumers resume`.", true)
            case .idempotencyConflict:
                ("The idempotency key was used for an event with another type, data, key or meta.", false)
            case .communicationError: ("The server cannot be reached, or the connection was lost before the answer.", true)
            case .timeout: ("The server did not answer in time.", true)
            }
        }

        /// Whether servers answer with it; else the client library makes it.
        public var isOfServers: Bool { self != .communicationError && self != .timeout }
    }

    private init(_ code: Code, _ text: String) { self.init(name: code.rawValue, text: text) }

    public static func unknownInterface(_ text: String) -> Self { .init(.unknownInterface, text) }
    public static func notSupportedVersion(_ text: String) -> Self { .init(.notSupportedVersion, text) }
    public static func notImplemented(_ text: String) -> Self { .init(.notImplemented, text) }
    public static func invalidRequest(_ text: String) -> Self { .init(.invalidRequest, text) }
    public static func unauthorized(_ text: String) -> Self { .init(.unauthorized, text) }
    public static func securityError(_ text: String) -> Self { .init(.securityError, text) }
    public static func defenseRejected(_ text: String) -> Self { .init(.defenseRejected, text) }
    public static func internalError(_ text: String) -> Self { .init(.internalError, text) }
    public static func communicationError(_ text: String) -> Self { .init(.communicationError, text) }
    public static func timeout(_ text: String) -> Self { .init(.timeout, text) }
    public static func notRegistered(_ text: String) -> Self { .init(.notRegistered, text) }
    public static func liveNotAllowed(_ text: String) -> Self { .init(.liveNotAllowed, text) }
    public static func archiveUnknown(_ text: String) -> Self { .init(.archiveUnknown, text) }
    public static func historyUnavailable(_ text: String) -> Self { .init(.historyUnavailable, text) }
    public static func consumerPaused(_ text: String) -> Self { .init(.consumerPaused, text) }
    public static func idempotencyConflict(_ text: String) -> Self { .init(.idempotencyConflict, text) }
    public static func consumerBusy(_ text: String) -> Self { .init(.consumerBusy, text) }
}
