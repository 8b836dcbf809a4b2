package import EventStream

/// How often the event at a consumer's position has failed, and what follows from it (protocol, sections 8.2 and 8.3).
///
/// Failures are counted for the first event of the first group in flight. The count is stored with the consumer and outlives
/// sessions. Where a whole group fails it is not known which of its events is to blame: the events then come one by one.
package struct Attempts: Sendable {
    package struct Failing: Hashable, Sendable {
        package let event: EventID
        /// Whether the event itself failed, rather than the group it is the first of.
        package let isAlone: Bool
        package let count: Int
        package let error: String

        package init(_ event: EventID, isAlone: Bool, count: Int, error: String) {
            (self.event, self.isAlone, self.count, self.error) = (event, isAlone, count, error)
        }
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

    package init(limit: Int, failing: Failing? = nil) { (self.limit, self.failing) = (limit, failing) }

    /// - Parameter isAlone: whether the event itself failed, rather than the group it is the first of.
    package mutating func failed(_ event: EventID, isAlone: Bool, _ error: String) -> Verdict {
        // What a group did says nothing about one of its events.
        let isSame = failing?.event == event && failing?.isAlone == isAlone
        let count = (isSame ? failing?.count ?? 0 : 0) + 1
        failing = Failing(event, isAlone: isAlone, count: count, error: Attempts.text(error))
        guard limit > 0, count >= limit else { return .again }
        return isAlone ? .park : .isolate
    }

    /// Whether the event failed before: it is sent alone then, so that the next failure is its own.
    package func isSuspect(_ event: EventID?) -> Bool { limit > 0 && failing != nil && failing?.event == event }

    /// What a receiver says of a failure, as it is kept: at most 1000 bytes, without NUL, which the database does not take.
    package static func text(_ error: String) -> String {
        String(decoding: error.utf8.lazy.filter { $0 != 0 }.prefix(GroupAnswer.textLimit), as: UTF8.self)
    }
}
