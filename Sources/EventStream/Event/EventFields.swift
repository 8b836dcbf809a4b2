/// What an event has on the wire besides id, type, data and ts.
public struct EventFields: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The microseconds of the timestamp, `us`.
    public static let microseconds = EventFields(rawValue: 1)
    /// What the event is about, `key`, where it has one.
    public static let key = EventFields(rawValue: 2)
    /// How the event came about, `meta`, where it has one.
    public static let meta = EventFields(rawValue: 4)
    /// Everything an event has.
    public static let all: EventFields = [.microseconds, .key, .meta]

    /// The names on the wire, in the order in which an event has them.
    private static let names: KeyValuePairs<String, EventFields> = ["us": .microseconds, "key": .key, "meta": .meta]

    /// The field of this name; nil if there is none.
    package init?(name: some StringProtocol) {
        guard let field = EventFields.names.first(where: { $0.key == name })?.value else { return nil }
        self = field
    }

    /// Their names on the wire.
    package var names: [String] { EventFields.names.filter { contains($0.value) }.map(\.key) }
}
