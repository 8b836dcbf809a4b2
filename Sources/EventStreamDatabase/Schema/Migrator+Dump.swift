import EventStream
import LibPQ

extension Migrator {
    /// Finishes a database made of a dump without rows (`pg_dump -s`): the tables are there, and their rows are not, not even those
    /// that say which steps were applied. Records the steps that the comment on the table of records tells of, and makes the rows
    /// that must be there.
    ///
    /// - Returns: whether there was something to do.
    /// - Throws: ``StoreError`` if the tables are there, and nothing tells which steps have made them.
    static func finishDump(_ schema: Schema, on connection: Connection) async throws -> Bool {
        let record = schema.record
        return try await connection.transaction {
            try await LockName.take(LockName.migrating(record), on: connection)
            let found = try await connection.query(
                """
                SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL,
                    substring(obj_description(to_regclass($1), 'pg_class') FROM 'step ([0-9]+)$')
                """, [.text(record.sql), .text(schema.marker.sql)])
            guard found.bool(0, 1) == true else { return false }
            if found.bool(0, 0) == true {
                let recorded = try await connection.query(Statement("SELECT FROM \(record.sql) LIMIT 1"))
                guard recorded.count == 0 else { return false }
            }
            guard let newest = found.int(0, 2) else { throw unknownSteps(schema) }
            let applied = (1...max(1, newest)).map { number in
                (number, schema.steps.first { $0.number == number }?.name ?? "of a newer program")
            }
            try await connection.query(
                Statement("INSERT INTO \(record.sql) (number, name) SELECT * FROM unnest($1::bigint[], $2::text[])"),
                [.int8Array(applied.map(\.0)), .strings(applied.map(\.1))])
            if let completion = schema.completion { try await connection.query(Statement(completion)) }
            return true
        }
    }

    private static func unknownSteps(_ schema: Schema) -> StoreError {
        StoreError(
            """
            \(schema.marker) is there, but nothing says which steps of the schema were applied: was the database made of a dump without \
            rows, and without comments, or by an older program? Either add the rows of \(schema.record) from the database that was dumped \
            (pg_dump -a -t \(schema.record)), or drop these tables, and migrate again
            """)
    }
}
