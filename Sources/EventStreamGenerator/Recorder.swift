package import EventStream
package import LibPQ

/// Records events: many in one statement, and so in one commit.
package struct Recorder: Sendable {
    /// An event to be recorded.
    package struct Draft: Hashable, Sendable {
        package let type: EventType
        package let data: RawJSON
        package init(type: EventType, data: RawJSON) {
            self.type = type
            self.data = data
        }
    }

    private let statement: Statement

    package init(_ tables: StreamTables) {
        // The order of the input is the order of the ids: defaults are computed above the sort. A trigger may drop rows without a
        // word, and nobody could tell which then: such a statement fails, unless it has one row only.
        statement = Statement(
            """
            WITH recorded AS (
                INSERT INTO \(tables.events.sql) (type, data)
                SELECT draft.type, draft.data::json
                FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS draft (type, data, position) ORDER BY position
                RETURNING id)
            SELECT id FROM recorded
            UNION ALL
            SELECT 1 / (count(*) - count(*)) FROM recorded
            HAVING count(*) <> cardinality($1::text[]) AND cardinality($1::text[]) > 1
            """, name: "evt_record")
    }

    /// Records the events in one transaction.
    ///
    /// - Returns: to the completion: their ids, in the order given; none for a single event that a trigger has dropped.
    package func record(
        _ drafts: [Draft], on connection: Connection, completion: @escaping (Result<[EventID], PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [.textArray(drafts.map(\.type.utf8)), .textArray(drafts.map(\.data.bytes))]
        connection.submit(statement, parameters) { result in
            completion(result.map { rows in (0..<rows.count).map { EventID(rows.int($0, 0) ?? 0) } })
        }
    }
}
