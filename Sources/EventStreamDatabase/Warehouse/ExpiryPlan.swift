package import EventStream
import LibPQ

/// Which months of a history are dropped: decided from what each of them holds.
package struct ExpiryPlan: Sendable {
    /// Events of a month, or of a partition of another length.
    package struct Month: Hashable, Sendable {
        /// Its beginning, `2026-11-01 00:00:00.000000`, and that of the next; UTC.
        package let first: String
        package let end: String
        /// The partition that holds it; nil for rows of the default partition, or of a table that is not partitioned by month.
        package var partition: TableName?
        package var events = 0
        /// The least and the greatest id; nil without events.
        package var ids: ClosedRange<EventID>?
        /// Whether it had ended by the time before which the history is to end.
        package var isOver = true
        /// An archiver that has not come past all of the events that it wants; nil if there is none.
        package var lacking: String?

        package init(first: String, end: String) { (self.first, self.end) = (first, end) }

        /// `2026-11`.
        package var name: String { String(first.prefix(7)) }
        /// Both in SQL.
        var times: (first: String, end: String) { ("timestamp \(quotedLiteral(first))", "timestamp \(quotedLiteral(end))") }
    }

    package enum Verdict: Hashable, Sendable {
        case goes
        /// Why.
        case stays(String)
    }

    /// The time before which the history is to end; UTC, `2026-11-24 08:30:00`.
    package let before: String
    /// Those that had ended by then, the oldest first.
    package let months: [(month: Month, verdict: Verdict)]

    /// - Parameters:
    ///   - months: all that have begun, the oldest first.
    ///   - discarded: up to here events are discarded in the active table.
    package init(before: String, months: [Month], discarded: EventID) {
        self.before = before
        var decided: [(Month, Verdict)] = []
        // The least of the newest ids of later months that stay.
        var kept: EventID?
        for month in months.reversed() {
            let verdict = ExpiryPlan.verdict(month, discarded: discarded, kept: kept)
            if verdict != .goes, let last = month.ids?.upperBound { kept = min(kept ?? last, last) }
            if month.isOver { decided.append((month, verdict)) }
        }
        self.months = decided.reversed()
    }

    private static func verdict(_ month: Month, discarded: EventID, kept: EventID?) -> Verdict {
        guard month.isOver else { return .stays("it has not ended") }
        guard let last = month.ids?.upperBound else { return .goes }
        if last > discarded { return .stays("event \(last) is not discarded in the active table yet") }
        if let lacking = month.lacking { return .stays(lacking) }
        // An archive is complete from an id on: all of that later month would be lost to consumers.
        if let kept, last > kept {
            return .stays("event \(last) was recorded after all events of a later month, which stays")
        }
        return .goes
    }

    /// The months that go.
    package var going: [Month] { months.filter { $0.verdict == .goes }.map(\.month) }
    package var events: Int { going.reduce(0) { $0 + $1.events } }
    /// After this event the archive would be complete at the earliest; nil if no event goes.
    package var last: EventID? { going.compactMap(\.ids?.upperBound).max() }
}
