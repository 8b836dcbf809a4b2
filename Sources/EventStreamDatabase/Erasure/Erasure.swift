/// The record of an erasure: which events, who, when and why, and how far it has come.
package struct Erasure: Hashable, Sendable {
    /// How far an erasure has come.
    package enum Progress: Hashable, Sendable {
        /// It is recorded that the data is to go.
        case begun
        /// The data is gone from the databases. Pushers that have noted this number, or a greater one, have read everything anew since.
        case erased(pass: Int64)
        /// And the pushers at work had noted the number; UTC, as an ISO 8601 text.
        case closed(String)
    }

    package let number: Int
    /// The same in the active database and in every archive: a UUID.
    package let key: String
    package let events: [ErasedEvent]
    package let reason: String
    /// The role that did it.
    package let role: String
    /// When; UTC, as an ISO 8601 text.
    package let at: String
    package let progress: Progress

    package var isOpen: Bool { if case .closed = progress { false } else { true } }
}
