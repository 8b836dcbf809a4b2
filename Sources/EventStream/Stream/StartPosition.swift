/// Where a new consumer begins (protocol, section 8.1).
public enum StartPosition: Hashable, Sendable, CustomStringConvertible {
    /// Before the first event there has been, archived ones included.
    case first
    /// After everything that is settled at the moment.
    case now
    /// After this event.
    case after(EventID)
    /// Before the first event in the order of ids that was recorded at this time or later; where there is none: as ``now``.
    case since(EventTimestamp)

    /// Reads the wire form: `first`, `now`, the digits of an event id, or `YYYY-MM-DDTHH:MM:SSZ`; nil for anything else.
    public init?(_ text: String) {
        switch text {
        case "first": self = .first
        case "now": self = .now
        default:
            if let id = EventID(text) {
                self = .after(id)
            } else if let time = EventTimestamp(wire: text.utf8) {
                self = .since(time)
            } else {
                return nil
            }
        }
    }

    /// The wire form.
    public var description: String {
        switch self {
        case .first: "first"
        case .now: "now"
        case .after(let id): id.description
        case .since(let time): time.description
        }
    }
}
