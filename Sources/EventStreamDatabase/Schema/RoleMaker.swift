package import EventStream
package import LibPQ

/// Makes the group roles, and sees to it that each may do what it needs and no more.
extension Migrator {
    /// What was done, and what others should do.
    package struct RoleReport: Sendable {
        package let roles: [GroupRole]
        package let created: [GroupRole]
        /// In words for people.
        package let advice: [String]
    }

    package static func grantActive(_ tables: StreamTables, on connection: Connection) async throws -> RoleReport {
        let qualified = try await qualified(tables, on: connection)
        return try await grant(qualified.roleGrants, in: qualified.events, on: connection)
    }

    package static func grantWarehouse(_ tables: ArchiveTables, on connection: Connection) async throws -> RoleReport {
        let qualified = try await qualified(tables, on: connection)
        return try await grant(qualified.roleGrants, in: qualified.history, on: connection)
    }

    /// Rights that the group roles lack, where they were given some before: what a migration has added needs others.
    package static func missingRights(_ tables: StreamTables, on connection: Connection) async throws -> [String] {
        let qualified = try await qualified(tables, on: connection)
        let grants = qualified.roleGrants
        guard try await missingRoles(grants, on: connection).isEmpty else { return [] }
        let isInUse = try await connection.query(
            "SELECT has_table_privilege($1, to_regclass($2), 'SELECT')",
            [.text(GroupRole.pusher.rawValue), .text(qualified.consumers.sql)])
        return isInUse.bool(0, 0) == true ? try await strings(grants.missing, on: connection) : []
    }

    /// The same as plain SQL.
    package static func script(_ grants: RoleGrants) -> String { "BEGIN;\n\(grants.creation)\n\(grants.rights)\nCOMMIT;\n" }

    private static func grant(_ grants: RoleGrants, in table: TableName, on connection: Connection) async throws -> RoleReport {
        let absent = try await missingRoles(grants, on: connection)
        let may = try await connection.query(
            "SELECT rolsuper OR rolcreaterole, rolname FROM pg_roles WHERE rolname = current_user")
        guard absent.isEmpty || may.bool(0, 0) == true else {
            throw StoreError(
                """
                the role \(may.string(0, 1) ?? "") may not make roles, and these are missing: \
                \(absent.map(\.rawValue).joined(separator: ", ")). Let a superuser, or a role with CREATEROLE, run this, or make \
                them (\(absent.map { "CREATE ROLE \($0) NOLOGIN;" }.joined(separator: " "))); run again, it then only grants what \
                they need
                """)
        }
        try await connection.transaction {
            try await LockName.take(LockName.granting(table), on: connection)
            // What a GRANT could not do is looked for afterwards.
            try await connection.script("SET LOCAL client_min_messages = error; SET LOCAL lock_timeout = '10s'")
            try await connection.script(grants.creation)
            try await connection.script(grants.rights)
            let missing = try await strings(grants.missing, on: connection)
            guard missing.isEmpty else {
                throw StoreError(
                    "the role \(may.string(0, 1) ?? "") may not grant what is needed; let the owner or a superuser run this, or: "
                        + missing.joined(separator: "; "))
            }
        }
        var advice = try await strings(grants.wanting, on: connection).map {
            "since when a transaction of another role holds the stream back stays unknown; a superuser may: \($0)"
        }
        let open = try await connection.query(
            """
            SELECT FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = $1 AND a.grantee = 0 AND a.privilege_type = 'CREATE'
            """, [.text(table.schema ?? "")])
        if open.count > 0, let schema = table.schema {
            let name = TableName(schema: nil, name: schema).sql
            advice.append(
                "everybody may make functions in the schema \(schema), and others may call them unawares: "
                    + "REVOKE CREATE ON SCHEMA \(name) FROM PUBLIC")
        }
        return RoleReport(roles: grants.roles, created: absent, advice: advice)
    }

    private static func missingRoles(_ grants: RoleGrants, on connection: Connection) async throws -> [GroupRole] {
        let rows = try await connection.query(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY ($1::text[])", [.strings(grants.roles.map(\.rawValue))])
        let present = Set((0..<rows.count).compactMap { rows.string($0, 0) })
        return grants.roles.filter { !present.contains($0.rawValue) }
    }

    private static func strings(_ query: String, on connection: Connection) async throws(PostgresError) -> [String] {
        let rows = try await connection.query(Statement(query))
        return (0..<rows.count).compactMap { rows.string($0, 0) }
    }
}
