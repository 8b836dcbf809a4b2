/// What is set aside with an event that a consumer cannot process.
public enum Parking: String, Hashable, Sendable, CaseIterable {
    /// Later events with the same key, too: the order of each key is kept.
    case key
    /// Nothing else.
    case event
}
