package import EventStream
package import LibPQ

/// Records events: many in one statement, and so in one commit.
package struct Recorder: Sendable {
    package typealias Draft = EventDraft

    /// What became of one event of a commit.
    package enum Outcome: Hashable, Sendable {
        case recorded(EventID)
        /// A trigger of the table has dropped it without a word.
        case dropped
        /// Its idempotency key was used for another event.
        case conflict
    }

    private let plain: Statement
    private let keyed: Statement
    private let once: Statement

    package init(_ tables: StreamTables) {
        plain = Recorder.insert(
            ["type": "draft.type", "data": "draft.data::json"], from: "unnest($1::text[], $2::text[])", into: tables,
            name: "evt_record")
        keyed = Recorder.insert(
            [
                "type": "draft.type", "data": "draft.data::json", "key": "NULLIF(draft.key, '')",
                "meta": "NULLIF(draft.meta, '')::json",
            ], from: "unnest($1::text[], $2::text[], $3::text[], $4::text[])", into: tables, name: "evt_record_keyed")
        once = Statement(
            "SELECT id, is_conflict FROM \(tables.addAll.sql)($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])",
            name: "evt_record_once")
    }

    /// The order of the input is the order of the ids: defaults are computed above the sort. A trigger may drop rows without a
    /// word, and nobody could tell which then: such a statement fails, unless it has one row only.
    private static func insert(
        _ columns: KeyValuePairs<String, String>, from drafts: String, into tables: StreamTables, name: String
    ) -> Statement {
        let names = columns.map(\.key).joined(separator: ", ")
        return Statement(
            """
            WITH recorded AS (
                INSERT INTO \(tables.events.sql) (\(names))
                SELECT \(columns.map(\.value).joined(separator: ", "))
                FROM \(drafts) WITH ORDINALITY AS draft (\(names), position) ORDER BY position
                RETURNING id)
            SELECT id FROM recorded
            UNION ALL
            SELECT 1 / (count(*) - count(*)) FROM recorded
            HAVING count(*) <> cardinality($1::text[]) AND cardinality($1::text[]) > 1
            """, name: name)
    }

    /// Records the events in one transaction.
    ///
    /// - Returns: to the completion: what became of each, in the order given.
    package func record(
        _ drafts: [Draft], on connection: Connection, completion: @escaping (Result<[Outcome], PostgresError>) -> Void
    ) {
        var parameters: [Parameter] = [.textArray(drafts.map(\.type.utf8)), .textArray(drafts.map(\.data.bytes))]
        if drafts.allSatisfy(\.isPlain) { return submit(plain, parameters, drafts.count, on: connection, completion) }
        // Neither can be empty, so an empty one stands for none.
        parameters += [.strings(drafts.map { $0.key ?? "" }), .textArray(drafts.map { $0.meta?.bytes ?? [] })]
        guard drafts.contains(where: { $0.idempotencyKey != nil }) else {
            return submit(keyed, parameters, drafts.count, on: connection, completion)
        }
        parameters.append(.strings(drafts.map { $0.idempotencyKey ?? "" }))
        submit(once, parameters, drafts.count, on: connection, completion)
    }

    private func submit(
        _ statement: Statement, _ parameters: [Parameter], _ count: Int, on connection: Connection,
        _ completion: @escaping (Result<[Outcome], PostgresError>) -> Void
    ) {
        connection.submit(statement, parameters) { result in
            completion(
                result.map { rows in
                    (0..<count).map { row in
                        // A row that is not there is one that a trigger has dropped.
                        guard row < rows.count else { return .dropped }
                        if let id = rows.int(row, 0) { return .recorded(EventID(id)) }
                        return rows.columnCount > 1 && rows.bool(row, 1) == true ? .conflict : .dropped
                    }
                })
        }
    }
}
