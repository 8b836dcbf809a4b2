package import EventStream
package import LibPQ

/// The inbox: tables and functions in the PostgreSQL in which a receiver does its work, so that each event counts once there.
package struct InboxSchema: Sendable {
    /// The first of the tables.
    package let inbox: TableName

    /// - Parameter schema: where the tables and functions are.
    /// - Returns: nil for a name that is none.
    package init?(in schema: String) {
        guard let inbox = TableName("\(schema).evt_inbox"), inbox.schema == schema else { return nil }
        self.inbox = inbox
    }

    private var sql: String {
        SQLTemplate(
            names: [
                "inbox": inbox, "inbox_events": inbox.with(suffix: "_events"), "inbox_claim": inbox.with(suffix: "_claim"),
                "inbox_lost": inbox.with(suffix: "_lost"),
            ], functions: [:]
        ).sql(PackageResources.inbox_sql)
    }

    /// All of it as plain SQL, which may be run again.
    package var script: String { "BEGIN;\n\n\(sql)\nCOMMIT;\n" }

    /// Makes what is missing, and replaces the functions.
    ///
    /// - Returns: whether the tables were missing.
    package func make(on connection: Connection) async throws -> Bool {
        try await connection.transaction {
            // Each of several instances of an application may do this when it starts.
            try await connection.query(
                Statement("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))"), [.text(LockName.makingInbox)])
            let found = try await connection.query(Statement("SELECT to_regclass($1::text) IS NOT NULL"), [.text(inbox.sql)])
            // The server says of each table that it is there already.
            try await connection.query("SET LOCAL client_min_messages = warning")
            _ = try await connection.script(sql)
            return found.bool(0, 0) != true
        }
    }
}
