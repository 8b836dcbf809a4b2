package import EventStream
package import LibPQ

/// Brings a database's schema up to date, and tells whether it is.
package enum Migrator {
    /// Applies what is missing of the active database's schema.
    ///
    /// Each step is a transaction, under a lock, so that several may try at once.
    /// - Parameter finished: called where the tables came from a dump without rows, which lacked the records of the steps and the
    ///   state: it is a new stream now.
    /// - Returns: the steps applied now.
    package static func migrateActive(
        _ tables: StreamTables, on connection: Connection, finished: () -> Void = {}
    ) async throws -> [Migration] {
        try TableGuard.checkEncoding(of: "database", on: connection)
        return try await migrate(try await qualified(tables, on: connection).schema, on: connection, finished: finished)
    }

    /// Applies what is missing of the warehouse database's schema.
    package static func migrateWarehouse(
        _ tables: ArchiveTables, on connection: Connection, finished: () -> Void = {}
    ) async throws -> [Migration] {
        try TableGuard.checkEncoding(of: "warehouse", on: connection)
        return try await migrate(try await qualified(tables, on: connection).schema, on: connection, finished: finished)
    }

    /// Lets the stream take wide event types.
    package static func widenActive(_ tables: StreamTables, on connection: Connection) async throws {
        try await widen(try await qualified(tables, on: connection).schema, on: connection)
    }

    /// Lets the warehouse take them.
    package static func widenWarehouse(_ tables: ArchiveTables, on connection: Connection) async throws {
        try await widen(try await qualified(tables, on: connection).schema, on: connection)
    }

    private static func widen(_ schema: Schema, on connection: Connection) async throws {
        try await connection.transaction {
            try await LockName.take(LockName.migrating(schema.record), on: connection)
            try await connection.script(
                "SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = '10s'; " + schema.widening)
        }
    }

    /// The whole schema as plain SQL, for those who run their own migration tool.
    ///
    /// - Parameter isWide: for a stream with wide event types.
    package static func script(_ schema: Schema, isWide: Bool = false) -> String {
        var text = "BEGIN;\n\(recordTable(schema.record))\n"
        for step in schema.steps {
            text += "\n-- \(step.number): \(step.name)\n\(step.sql)\n\(record(step, in: schema.record))\n"
        }
        if isWide { text += "\n\(schema.widening)\n" }
        return text + "COMMIT;\n"
    }

    /// Fails unless the recorded steps are exactly the ones of the schema.
    static func check(_ schema: Schema, on connection: Connection) async throws {
        let applied = try await connection.query(Statement("SELECT COALESCE(max(number), 0) FROM \(schema.record.sql)"))
        let number = Int(applied.int(0, 0) ?? 0)
        let newest = schema.steps.last?.number ?? 0
        if number < newest {
            throw StoreError("the database's schema is at step \(number), this program needs \(newest): run `evt migrate`")
        }
        if number > newest {
            throw StoreError(
                "the database's schema is at step \(number), this program knows \(newest): install the program that made it, or a newer one"
            )
        }
    }

    static func qualified(_ tables: StreamTables, on connection: Connection) async throws -> StreamTables {
        let schema = try await currentSchema(of: tables.events, on: connection)
        let consumers = tables.consumers.qualified(in: try await currentSchema(of: tables.consumers, on: connection))
        return StreamTables(events: tables.events.qualified(in: schema), consumers: consumers)
    }

    static func qualified(_ tables: ArchiveTables, on connection: Connection) async throws -> ArchiveTables {
        ArchiveTables(history: tables.history.qualified(in: try await currentSchema(of: tables.history, on: connection)))
    }

    /// Where a name without a schema is, or will be.
    private static func currentSchema(of table: TableName, on connection: Connection) async throws -> String {
        if let schema = table.schema { return schema }
        let found = try await connection.query(
            """
            SELECT COALESCE((SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                WHERE c.oid = to_regclass($1)), current_schema())
            """, [.text(table.sql)])
        guard let schema = found.string(0, 0) else {
            throw StoreError("no schema to make \(table) in: the search_path names none that exists")
        }
        return schema
    }

    private static func recordTable(_ table: TableName) -> String {
        """
        CREATE TABLE IF NOT EXISTS \(table.sql) (
            number integer PRIMARY KEY,
            name text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        );
        """
    }

    /// Noted in the table's comment as well: a dump without rows has that.
    private static func record(_ migration: Migration, in table: TableName) -> String {
        """
        INSERT INTO \(table.sql) (number, name) VALUES (\(migration.number), \(quotedLiteral(migration.name)));
        COMMENT ON TABLE \(table.sql) IS 'Steps of the schema that were applied; the newest is step \(migration.number)';
        """
    }

    package static func migrate(
        _ schema: Schema, on connection: Connection, finished: () -> Void = {}
    ) async throws -> [Migration] {
        if try await finishDump(schema, on: connection) { finished() }
        var applied: [Migration] = []
        for step in schema.steps {
            let ran: Bool = try await connection.transaction {
                try await LockName.take(LockName.migrating(schema.record), on: connection)
                // Whoever waits for a table keeps everyone behind it waiting, too: give up soon, and let the operator try again.
                try await connection.script(
                    "SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = '10s'; " + recordTable(schema.record))
                let known = try await connection.query(
                    Statement("SELECT FROM \(schema.record.sql) WHERE number = $1"), [.text(String(step.number))])
                guard known.count == 0 else { return false }
                try await connection.script(step.sql)
                try await connection.script(record(step, in: schema.record))
                return true
            }
            if ran { applied.append(step) }
        }
        return applied
    }
}
