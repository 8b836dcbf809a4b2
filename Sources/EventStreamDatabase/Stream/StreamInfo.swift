package import EventStream
package import LibPQ

/// What is wrong with a database, in words that say what to do.
package struct StoreError: Error, Sendable, CustomStringConvertible {
    package let message: String
    package init(_ message: String) { self.message = message }
    package var description: String { message }
}

/// A stream as it was found in a database: the tables with their schema, and the keys derived from them.
package struct StreamInfo: Hashable, Sendable {
    package let tables: StreamTables
    /// The event table's object id.
    package let tableOID: UInt32
    /// Object ids of all the stream's tables, the segments included.
    package let tableOIDs: [UInt32]
    /// Whether transactions may be prepared here, so that writers must not notify.
    package let writersMayPrepare: Bool

    /// The channel that says: there are new events.
    package var channel: String { "evt_\(tableOID)" }

    /// Session settings of whoever reads the event table by ranges of ids: plans must merge the segments' indexes, whatever the
    /// statistics say.
    package static let plans = [
        "plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off",
    ]

    /// Looks the stream up and checks that its schema is the one this program knows.
    ///
    /// - Parameter writing: whether a server that can only be read is of no use.
    package static func load(_ tables: StreamTables, from connection: Connection, writing: Bool = false) async throws
        -> StreamInfo
    {
        let found = try await connection.query(
            """
            SELECT to_regclass($1)::oid::bigint, current_setting('max_prepared_transactions') <> '0'
                AND COALESCE(current_setting('eventstream.notify', true), '') <> 'on',
                (SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass($1)),
                (SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass($2)),
                to_regclass($3) IS NOT NULL, pg_is_in_recovery()
            """, [.text(tables.events.sql), .text(tables.consumers.sql), .text(tables.migrations.sql)])
        guard !writing || found.bool(0, 5) == false else {
            throw StoreError(
                "the server at \(connection.host) is a standby, which can only be read: name the primary in EVT_DATABASE_URL, or all"
            )
        }
        guard let oid = found.int(0, 0), let eventSchema = found.string(0, 2), let consumerSchema = found.string(0, 3),
            found.bool(0, 4) == true
        else {
            throw StoreError("the database has no event stream \(tables.events) yet, or not ours: run `evt migrate` on it")
        }
        let qualified = StreamTables(
            events: tables.events.qualified(in: eventSchema), consumers: tables.consumers.qualified(in: consumerSchema))
        try TableGuard.checkEncoding(of: "database", on: connection)
        let tableGuard = try await TableGuard.look(at: qualified.all, on: connection)
        try tableGuard.check(writing: writing)
        try await Migrator.check(qualified.schema, on: connection)
        return StreamInfo(
            tables: qualified, tableOID: UInt32(oid), tableOIDs: tableGuard.tables.map(\.oid),
            writersMayPrepare: found.bool(0, 1) ?? false)
    }

    /// Looks again what ``load(_:from:writing:)`` has looked for: whether a table hides rows by now, or is fed.
    package func check(writing: Bool, on connection: Connection) async throws {
        try await TableGuard.look(at: tables.all, on: connection).check(writing: writing)
    }

    /// A condition: the stream is in this generation still, and the event table is the one that was looked up. What was learned in
    /// another generation, or from a table that has been replaced since, is not stored.
    package func isOf(generation: String) -> String {
        """
        EXISTS (SELECT FROM \(tables.state.sql) WHERE generation = \(generation)::text::uuid
            AND \(quotedLiteral(tables.events.sql))::regclass::oid::bigint = \(tableOID))
        """
    }

    /// Without its row nothing is known of what was discarded, and an answer without rows must not pass for zero.
    package func checkState(_ rows: Rows) throws(StoreError) {
        guard rows.count == 0 else { return }
        throw StoreError(
            """
            \(tables.state) has no row, so nothing tells what was delivered and discarded. Either restore the row from a backup, or \
            begin a new stream: drop the stream's tables and `evt migrate`
            """)
    }
}
