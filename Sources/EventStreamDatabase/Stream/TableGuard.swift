package import EventStream
package import LibPQ

/// Looks whether tables show all their rows, and whether nobody but this server's own transactions writes into them.
///
/// A row that is hidden, or that arrives behind the back of the locks, would be passed over and then discarded.
package struct TableGuard: Sendable {
    /// One of the tables, or a partition of one.
    package struct Table: Hashable, Sendable {
        package let oid: UInt32
        /// With its schema.
        package let name: TableName
        /// Whether there are policies, for whatever roles.
        package let hasRowSecurity: Bool
        /// Whether a policy may hide rows from the present role.
        package let mayHideRows: Bool
        /// Whether a logical subscription writes into it.
        package let isFed: Bool
    }

    /// The tables, and what belongs to them.
    package let tables: [Table]
    /// The present role.
    package let role: String

    package static func look(at names: [TableName], on connection: Connection) async throws(PostgresError) -> TableGuard {
        let rows = try await connection.query(
            """
            WITH RECURSIVE ours (oid) AS (
                SELECT to_regclass(name)::oid FROM unnest($1::text[]) name WHERE to_regclass(name) IS NOT NULL
                UNION SELECT inhrelid FROM ours JOIN pg_inherits ON inhparent = ours.oid)
            SELECT c.oid::bigint, nspname, relname, relrowsecurity, row_security_active(c.oid),
                EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = c.oid), current_user
            FROM ours JOIN pg_class c ON c.oid = ours.oid JOIN pg_namespace n ON n.oid = relnamespace ORDER BY 2, 3
            """, [.strings(names.map(\.sql))])
        let tables = (0..<rows.count).map { row in
            Table(
                oid: UInt32(truncatingIfNeeded: rows.int(row, 0) ?? 0),
                name: TableName(schema: rows.string(row, 1), name: rows.string(row, 2) ?? ""),
                hasRowSecurity: rows.bool(row, 3) ?? true, mayHideRows: rows.bool(row, 4) ?? true,
                isFed: rows.bool(row, 5) ?? true)
        }
        return TableGuard(tables: tables, role: rows.count > 0 ? rows.string(0, 6) ?? "" : "")
    }

    /// - Parameter writing: whether a table that a subscription feeds is of no use.
    /// - Throws: ``StoreError``, with what two things a person may do.
    func check(writing: Bool) throws(StoreError) {
        if let table = tables.first(where: \.mayHideRows) { throw StoreError(TableGuard.hidden(table.name, from: role)) }
        if writing, let table = tables.first(where: \.isFed) { throw StoreError(TableGuard.fed(table.name)) }
    }

    private static func hidden(_ table: TableName, from role: String) -> String {
        """
        row-level security on \(table) applies to the role \(role): rows that a policy hides would be passed over and lost, so \
        nothing is done. Either ALTER TABLE \(table.sql) DISABLE ROW LEVEL SECURITY, or give the role BYPASSRLS \
        (ALTER ROLE \(TableName(schema: nil, name: role).sql) BYPASSRLS, by a superuser)
        """
    }

    private static func fed(_ table: TableName) -> String {
        """
        a logical subscription writes into \(table): such rows become visible without the locks that keep the order of ids, and would \
        be passed over. Either run the processes on the publisher, or make this database the stream: drop the subscription (its \
        name is in pg_subscription) and set the sequence of ids beyond the newest event
        """
    }

    /// A condition: no subscription writes into any of the tables. For statements that run all the time.
    package static func noneIsFed(_ oids: [UInt32]) -> String {
        "NOT EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = ANY ('{\(oids.map(String.init).joined(separator: ","))}'::oid[]))"
    }

    /// Fails if the text of a database is not in UTF-8: sizes are counted, and JSON is sent, in that.
    static func checkEncoding(of database: String, on connection: Connection) throws(StoreError) {
        let encoding = connection.parameterStatus("server_encoding") ?? "unknown"
        guard encoding != "UTF8" else { return }
        throw StoreError(
            """
            the encoding of the \(database) is \(encoding), and must be UTF8: events may have text that \(encoding) cannot hold, and \
            other sizes on the way. Either move to a database made with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0 (pg_dump \
            and pg_restore convert), or name another one
            """)
    }
}

extension StreamTables {
    /// All tables of a stream; segments belong to the events.
    var all: [TableName] {
        [events, consumers, state, pushers, archives, marks, erasures, parked, keys.a, keys.b, rotation, migrations]
    }
}

extension ArchiveTables {
    /// All tables of an archive; partitions belong to the history.
    var all: [TableName] { [history, positions, sums, lost, expired, erased, migrations] }
}
