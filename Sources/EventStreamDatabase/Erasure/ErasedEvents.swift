import EventStream
import LibPQ

/// Statements about events that are known by id, type and time together, for every table that has these columns.
struct ErasedEvents {
    /// Exactly, and as every session reads it.
    static let time = "'YYYY-MM-DD HH24:MI:SS.US'"
    static let null = "'null'"

    /// The events with these ids that a table has.
    static func found(in table: TableName, _ ids: [EventID], on connection: Connection) async throws(PostgresError)
        -> [ErasedEvent]
    {
        let rows = try await connection.query(
            Statement(
                "SELECT DISTINCT id, type, to_char(ts, \(time)) FROM \(table.sql) WHERE id = ANY ($1::bigint[]) ORDER BY 1, 3"),
            [.int8Array(ids.map(\.rawValue))])
        return (0..<rows.count).map { ErasedEvent(rows, $0, 0) }
    }

    /// Three parameters for ``rows``.
    static func parameters(_ events: [ErasedEvent]) -> [Parameter] {
        [.int8Array(events.map(\.id.rawValue)), .strings(events.map(\.type)), .strings(events.map(\.time))]
    }

    /// The parameters as rows `e`.
    static let rows = "unnest($1::bigint[], $2::text[], $3::text[]::timestamp[]) AS e (id, type, ts)"

    /// A condition: the row is one of them, and has its data, key or meta still.
    static func isOne(_ row: String) -> String {
        // The first part lets the planner use the index, whatever it believes of the rest.
        "\(row).id = ANY ($1::bigint[]) AND \(row).id = e.id AND \(row).type = e.type AND \(row).ts = e.ts "
            + "AND (\(row).data::text <> \(null) OR \(row).key IS NOT NULL OR \(row).meta IS NOT NULL)"
    }

    /// Erases data, key and meta of the events that a table has.
    ///
    /// - Returns: of how many rows.
    static func erase(_ events: [ErasedEvent], in table: TableName, on connection: Connection) async throws(PostgresError) -> Int
    {
        try await connection.query(
            Statement("UPDATE \(table.sql) r SET data = \(null), key = NULL, meta = NULL FROM \(rows) WHERE \(isOne("r"))"),
            parameters(events)
        ).affected
    }
}

extension ErasedEvent {
    init(_ rows: Rows, _ row: Int, _ column: Int) {
        self.init(
            id: EventID(rows.int(row, column) ?? 0), type: rows.string(row, column + 1) ?? "",
            time: rows.string(row, column + 2) ?? "")
    }
}
