package import EventStream

/// Remembers where live polls with a filter have found nothing, so that they do not look there again.
///
/// A stretch of the stream that is settled never gets another event, so what was learned of it stays true. A reliable
/// consumer's position remembers the same; a live poller has none, and asks from the same id until something comes.
package struct PollMemo: Sendable {
    private struct Question: Hashable {
        let after: EventID
        let want: EventFilter
    }

    private let limit: Int
    private var known: [Question: EventID] = [:]

    /// Longer filters are not worth the memory.
    private static let typeLimit = 32

    /// - Parameter limit: questions remembered at most; at least 1.
    package init(limit: Int = 1000) { self.limit = limit }

    /// Where to begin to look for what is wanted after `id`.
    package func start(after id: EventID, want: EventFilter) -> EventID { known[Question(after: id, want: want)] ?? id }

    /// Nothing wanted lies in (id, through], which is settled.
    package mutating func foundNothing(after id: EventID, through: EventID, want: EventFilter) {
        guard let types = want.types, types.count + want.prefixes.count <= PollMemo.typeLimit, through > id else { return }
        if known.count >= limit { known = [:] }
        known[Question(after: id, want: want)] = through
    }
}
