/// How a relay sends CloudEvents by HTTP.
public enum RelayFormat: String, Hashable, Sendable, CaseIterable {
    /// An event as JSON.
    case structured
    /// The data of an event, and what else there is in headers.
    case binary
    /// Several events as JSON.
    case batch
}
