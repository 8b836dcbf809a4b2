/// One step of a database's schema. Immutable once released: a change is a new step.
public struct Migration: Sendable {
    public let number: Int
    public let name: String
    /// SQL in which `{{key}}` stands for a quoted name, `{{'key}}` for the same name as a string literal.
    let template: String

    /// - Parameter names: what the keys stand for, quoted for use in SQL.
    func sql(_ names: [String: String]) -> String {
        names.reduce(template) { text, name in
            let literal = "'" + doublingQuotes("'", in: name.value) + "'"
            return text.split(separator: "{{\(name.key)}}", omittingEmptySubsequences: false).joined(separator: name.value)
                .split(separator: "{{'\(name.key)}}", omittingEmptySubsequences: false).joined(separator: literal)
        }
    }
}

extension StreamTables {
    /// The schema of the active database, for tables whose schema is known.
    public var migrationSQL: [(migration: Migration, sql: String)] {
        precondition(events.schema != nil && consumers.schema != nil, "qualify the tables first")
        var names = [
            "events": events.sql, "consumers": consumers.sql, "state": state.sql, "pushers": pushers.sql,
            "archives": archives.sql, "marks": marks.sql,
            "sequence": sequence.sql, "mark": mark.sql, "add": add.sql, "wake": events.with(suffix: "_wake").sql,
            "check_ids": events.with(suffix: "_check_ids").sql, "registering": consumers.with(suffix: "_registering").sql,
            "adopted": events.with(suffix: "_adopted").sql,
            "adopted_name": TableName(schema: nil, name: events.name + "_adopted").sql,
            "consumers_index": consumers.with(suffix: "_last_evt_id").sql,
            "schema": TableName(schema: nil, name: events.schema!).sql, "bits": String(StreamTables.segmentBits),
        ]
        for index in 0..<StreamTables.segmentCount { names["segment\(index)"] = segment(index).sql }
        return Migration.active.map { ($0, $0.sql(names)) }
    }
}

extension ArchiveTables {
    /// The schema of the warehouse database, for a table whose schema is known.
    public var migrationSQL: [(migration: Migration, sql: String)] {
        precondition(history.schema != nil, "qualify the tables first")
        let names = [
            "history": history.sql, "positions": positions.sql, "sums": sums.sql, "lost": lost.sql, "partitions": partitions.sql,
            "default": history.with(suffix: "_default").sql, "schema": TableName(schema: nil, name: history.schema!).sql,
            "name": TableName(schema: nil, name: history.name).sql,
        ]
        return Migration.warehouse.map { ($0, $0.sql(names)) }
    }
}
