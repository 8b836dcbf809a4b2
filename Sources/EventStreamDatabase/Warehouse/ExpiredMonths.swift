package import EventStream
package import LibPQ

/// The record of what was dropped from a history on purpose.
package struct ExpiredMonths: Sendable {
    private let history: HistoryStore
    private var expired: String { history.tables.expired.sql }

    package init(_ history: HistoryStore) { self.history = history }

    package struct Record: Hashable, Sendable {
        /// `2026-11`.
        package let month: String
        /// What had ended by this time was to go; UTC, as an ISO 8601 text.
        package let before: String
        package let events: Int
        /// The least and the greatest id; nil if the month had no events.
        package let ids: ClosedRange<EventID>?
        /// The role that did it.
        package let role: String
        /// When; UTC, as an ISO 8601 text.
        package let at: String
        package let reason: String?
    }

    /// All that has expired.
    package struct Total: Hashable, Sendable {
        package let events: Int
        package let first: EventID
        package let last: EventID

        package init(events: Int, first: EventID, last: EventID) {
            (self.events, self.first, self.last) = (events, first, last)
        }
    }

    /// Every record, in the order in which the months were dropped.
    package func list(on connection: Connection) async throws(PostgresError) -> [Record] {
        let iso = "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'"
        let rows = try await connection.query(
            Statement(
                """
                SELECT to_char(month, 'YYYY-MM'), to_char(before, \(iso)), events, first_id, last_id, by,
                    to_char(at AT TIME ZONE 'UTC', \(iso)), reason
                FROM \(expired) ORDER BY number
                """))
        return (0..<rows.count).map { row in
            Record(
                month: rows.string(row, 0) ?? "", before: rows.string(row, 1) ?? "", events: Int(rows.int(row, 2) ?? 0),
                ids: ClosedRange(rows, row, 3), role: rows.string(row, 5) ?? "", at: rows.string(row, 6) ?? "",
                reason: rows.string(row, 7))
        }
    }

    /// Nil if no event has expired.
    package func total(on connection: Connection) async throws(PostgresError) -> Total? {
        let rows = try await connection.query(
            Statement("SELECT min(first_id), max(last_id), sum(events) FROM \(expired) WHERE first_id IS NOT NULL"))
        return ClosedRange(rows, 0, 0).map {
            Total(events: Int(rows.int(0, 2) ?? 0), first: $0.lowerBound, last: $0.upperBound)
        }
    }
}

extension ClosedRange<EventID> {
    /// Of a column with the least id and the one after that with the greatest; nil where they are NULL.
    init?(_ rows: Rows, _ row: Int, _ column: Int) {
        guard let first = rows.int(row, column), let last = rows.int(row, column + 1), first <= last else { return nil }
        self = EventID(first)...EventID(last)
    }
}
