package import EventStream

/// How often the event at a consumer's position has failed, and what follows from it (protocol, sections 8.2 and 8.3).
///
/// Failures are counted for the first event of the first group in flight. The count is stored with the consumer and outlives
/// sessions. Where a whole group fails it is not known which of its events is to blame: the events then come one by one.
package struct Attempts: Sendable {
    package struct Failing: Hashable, Sendable {
        package let event: EventID
        package var count: Int
        package var error: String

        package init(_ event: EventID, count: Int, error: String) { (self.event, self.count, self.error) = (event, count, error) }
    }

    package enum Verdict: Hashable, Sendable {
        /// It is sent again.
        case again
        /// One event of the group is to blame: they come one by one.
        case isolate
        /// It is set aside.
        case park
    }

    /// So many failures an event may have; 0 for any number.
    package let limit: Int
    package private(set) var failing: Failing?

    private static let textLimit = 1000

    package init(limit: Int, failing: Failing? = nil) { (self.limit, self.failing) = (limit, failing) }

    /// - Parameter isAlone: whether the event itself failed, rather than the group it is the first of.
    package mutating func failed(_ event: EventID, isAlone: Bool, _ error: String) -> Verdict {
        let count = (failing?.event == event ? failing?.count ?? 0 : 0) + 1
        // The database takes no NUL.
        let text = String(decoding: error.utf8.filter { $0 != 0 }.prefix(Attempts.textLimit), as: UTF8.self)
        failing = Failing(event, count: count, error: text)
        guard limit > 0, count >= limit else { return .again }
        guard isAlone else {
            // What the group did says nothing about this one of its events.
            failing?.count = 0
            return .isolate
        }
        return .park
    }

    /// Whether the event failed before: it is sent alone then, so that the next failure is its own.
    package func isSuspect(_ event: EventID?) -> Bool { limit > 0 && failing != nil && failing?.event == event }
}
