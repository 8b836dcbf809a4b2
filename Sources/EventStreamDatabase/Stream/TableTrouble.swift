package import EventStream
package import LibPQ

/// What somebody has done to a stream's tables that loses events, or keeps the processes from their work.
package struct TableTrouble: Hashable, Sendable {
    /// For people: what is so, and what follows.
    package let text: String
    /// What a person may do.
    package let advice: String
    /// Whether the processes refuse to work; what is not grave is lost on the way, and nothing else is.
    package let isGrave: Bool

    package static func load(_ info: StreamInfo, from connection: Connection) async throws -> [TableTrouble] {
        let seen = try await TableGuard.look(at: info.tables.all, on: connection)
        var found = seen.tables.filter(\.isFed).map { table in
            TableTrouble(
                text: "a logical subscription writes into \(table.name): processes refuse to work here",
                advice:
                    "run the processes on the publisher; or drop the subscription, and set the sequence of ids beyond the newest "
                    + "event", isGrave: true)
        }
        for table in seen.tables where table.hasRowSecurity {
            let roles = try await processRoles(subjectTo: table, on: connection)
            guard !roles.isEmpty else { continue }
            found.append(
                TableTrouble(
                    text:
                        "row-level security on \(table.name) applies to \(roles.joined(separator: ", ")): a process that logs in so "
                        + "refuses to work, because hidden rows would be lost",
                    advice: "ALTER TABLE \(table.name.sql) DISABLE ROW LEVEL SECURITY, or ALTER ROLE … BYPASSRLS", isGrave: true))
        }
        let columns = try await addedColumns(info, on: connection)
        if !columns.isEmpty {
            found.append(
                TableTrouble(
                    text: TableTrouble.columnsText(columns, of: info.tables),
                    advice: "put what receivers need into data, or drop what nobody needs", isGrave: false))
        }
        return found
    }

    /// Of the roles our processes log in as, those that a policy on the table would apply to.
    private static func processRoles(
        subjectTo table: TableGuard.Table, on connection: Connection
    ) async throws(PostgresError) -> [String] {
        let rows = try await connection.query(
            """
            SELECT r.rolname FROM pg_class c, pg_roles r
            WHERE c.oid = $1::bigint::oid AND r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolbypassrls
                AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
                AND (has_any_column_privilege(r.oid, c.oid, 'SELECT') OR has_any_column_privilege(r.oid, c.oid, 'INSERT'))
                AND (EXISTS (SELECT FROM pg_roles g WHERE g.rolname = ANY ($2::text[]) AND pg_has_role(r.oid, g.oid, 'USAGE'))
                    OR EXISTS (SELECT FROM pg_stat_activity a WHERE a.usename = r.rolname AND a.application_name LIKE 'evt-%'
                        AND a.datname = current_database()))
            ORDER BY 1
            """,
            [.int8(Int64(table.oid)), .strings(GroupRole.allCases.filter { $0 != .app }.map(\.rawValue))])
        return (0..<rows.count).compactMap { rows.string($0, 0) }
    }

    /// Columns of the event table that are none of ours.
    package static func addedColumns(_ info: StreamInfo, on connection: Connection) async throws(PostgresError) -> [String] {
        let rows = try await connection.query(
            """
            SELECT attname FROM pg_attribute WHERE attrelid = $1::bigint::oid AND attnum > 0 AND NOT attisdropped
                AND attname <> ALL ($2::text[]) ORDER BY attnum
            """, [.int8(Int64(info.tableOID)), .strings(StreamTables.eventColumns)])
        return (0..<rows.count).compactMap { rows.string($0, 0) }
    }

    /// For people.
    package static func columnsText(_ columns: [String], of tables: StreamTables) -> String {
        """
        \(tables.events) has columns that are not the stream's: \(columns.joined(separator: ", ")). What is in these columns is \
        neither delivered nor archived, and is gone when the event is discarded
        """
    }
}
