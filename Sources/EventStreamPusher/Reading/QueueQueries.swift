package import EventStream
import EventStreamDatabase
package import LibPQ

/// What is asked of the event table besides its pages.
package struct QueueQueries: Sendable {
    private let visible: Statement
    private let discarded: Statement
    private let since: Statement

    package init(_ tables: StreamTables) {
        let events = tables.events.sql
        visible = Statement(
            """
            SELECT min(id), max(id) FROM (
                SELECT id, id - row_number() OVER (ORDER BY id) AS stretch
                FROM (SELECT id FROM \(events) WHERE id > $1::bigint ORDER BY id LIMIT 100000) ids
            ) numbered GROUP BY stretch ORDER BY 1
            """, name: "evt_visible")
        discarded = Statement("SELECT discarded FROM \(tables.state.sql)", name: "evt_discarded")
        since = Statement(
            """
            SELECT (SELECT id FROM \(events) WHERE ts >= \(StartQueries.time) ORDER BY id LIMIT 1), (SELECT min(id) FROM \(events))
            """, name: "evt_since")
    }

    /// Which events past `after` can be seen now: ids without a gap between them are one stretch.
    ///
    /// Of a hundred thousand rows at most: past these nobody should have to wait for the answer.
    package func visible(
        after: EventID, on connection: Connection, completion: @escaping (Result<EventIDSet, PostgresError>) -> Void
    ) {
        connection.submit(visible, [.int8(after.rawValue)]) { result in
            completion(
                result.map { rows in
                    EventIDSet(
                        (0..<rows.count).compactMap { row in
                            rows.int(row, 0).flatMap { first in rows.int(row, 1).map { EventID(first)...EventID($0) } }
                        })
                })
        }
    }

    /// Up to which id events are discarded. What a page lacks that was read before, and that follows this id, was never there.
    package func discarded(on connection: Connection, completion: @escaping (Result<EventID, PostgresError>) -> Void) {
        connection.submit(discarded) { completion($0.map { EventID($0.int(0, 0) ?? 0) }) }
    }

    /// Where the events of a time or later begin.
    package struct Since: Hashable, Sendable {
        /// The first in the order of ids.
        package let first: EventID?
        /// The oldest event there is.
        package let oldest: EventID?
        /// Up to here events are discarded.
        package let discarded: EventID
    }

    package func first(
        since time: EventTimestamp, on connection: Connection, completion: @escaping (Result<Since, PostgresError>) -> Void
    ) {
        var found: Result<Rows, PostgresError>?
        connection.submit(since, [.int8(time.postgres)]) { found = $0 }
        discarded(on: connection) { discarded in
            completion(
                discarded.flatMap { discarded in
                    found!.map { rows in
                        Since(
                            first: rows.int(0, 0).map { EventID($0) }, oldest: rows.int(0, 1).map { EventID($0) },
                            discarded: discarded)
                    }
                })
        }
    }
}
