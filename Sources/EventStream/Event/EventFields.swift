/// What an event has on the wire besides id, type, data and ts.
package struct EventFields: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The microseconds of the timestamp, `us`.
    package static let microseconds = EventFields(rawValue: 1)
}
