package import EventStream
import LibPQ

/// A group role of PostgreSQL: what one process, or whoever looks on, may do. Roles that log in become members of it.
package enum GroupRole: String, Hashable, CaseIterable, Sendable, CustomStringConvertible {
    case app = "evt_app"
    case generator = "evt_generator"
    case pusher = "evt_pusher"
    case archiver = "evt_archiver"
    case discarder = "evt_discarder"
    case monitor = "evt_monitor"

    package var description: String { rawValue }

    /// Who logs in as a member.
    package var members: String {
        switch self {
        case .app: "applications"
        case .generator: "`evt-generator`"
        case .pusher: "`evt-pusher`; `evt consumers register` and `set`, `evt parked retry` and `drop`, `evt generation --renew`"
        case .archiver: "`evt-archiver`; archivers of one name log in as one role"
        case .discarder: "`evt-discarder`"
        case .monitor:
            "`evt status`, `top`, `doctor`, `consumers`, `parked list` and `show`, `generation`, `history`, `archive verify`, `archive lost list`, `archive expired`, `archive erased`"
        }
    }

    /// Members of `pg_read_all_stats`, to see since when sessions of other roles hold the stream back.
    package static let seeingSessions: [GroupRole] = [.pusher, .monitor]
}

/// Rights on one object, for one group role.
package struct Grant: Sendable {
    package enum Object: Hashable, Sendable {
        case table(TableName)
        case sequence(TableName)
        /// The sequence a column draws from, whatever its name; nothing if there is none.
        case serial(TableName, column: String)
        case function(TableName, arguments: String)
        case schema(String)
        /// The present one.
        case database
    }

    package let role: GroupRole
    let rights: [String]
    /// Only these of a table; empty for all.
    let columns: [String]
    let object: Object
    /// What the role does with them.
    package let why: String

    init(_ role: GroupRole, _ rights: String..., columns: [String] = [], on object: Object, _ why: String) {
        self.role = role
        self.rights = rights
        self.columns = columns
        self.object = object
        self.why = why
    }

    /// `INSERT (type, data)`, and what it is on, for people.
    package var words: (rights: String, object: String) {
        let list = columns.isEmpty ? "" : " (\(columns.joined(separator: ", ")))"
        let name =
            switch object {
            case .table(let table), .sequence(let table): table.name
            case .serial(let table, let column): "sequence of \(table.name).\(column)"
            case .function(let function, let arguments): "\(function.name)(\(arguments))"
            case .schema: "schema"
            case .database: "database"
            }
        return (rights.joined(separator: ", ") + list, name)
    }

    /// The statement that gives them.
    var sql: String {
        let list = columns.isEmpty ? "" : " (\(columns.joined(separator: ", ")))"
        let given = "GRANT " + rights.map { $0 + list }.joined(separator: ", ")
        return switch object {
        case .table, .sequence, .function: "\(given) ON \(object.sql) TO \(role);"
        case .schema(let name): "\(given) ON SCHEMA \(quotedIdentifier(name)) TO \(role);"
        case .serial(let table, let column):
            """
            DO $$
            DECLARE
                sequence text := pg_get_serial_sequence(\(quotedLiteral(table.sql)), \(quotedLiteral(column)));
            BEGIN
                IF sequence IS NOT NULL THEN
                    EXECUTE format('\(given) ON SEQUENCE %s TO \(role)', sequence);
                END IF;
            END $$;
            """
        case .database:
            """
            DO $$
            BEGIN
                EXECUTE format('\(given) ON DATABASE %I TO \(role)', current_database());
            END $$;
            """
        }
    }

    /// Conditions that all hold when the role has them, each with what is missing where it does not.
    var checks: [(condition: String, missing: String)] {
        rights.flatMap { right -> [(String, String)] in
            switch object {
            case .table(let table):
                guard !columns.isEmpty else {
                    return [
                        ("has_table_privilege('\(role)', \(quotedLiteral(table.sql)), '\(right)')", missing(right, object.sql))
                    ]
                }
                return columns.map {
                    (
                        "has_column_privilege('\(role)', \(quotedLiteral(table.sql)), '\($0)', '\(right)')",
                        missing("\(right) (\($0))", object.sql)
                    )
                }
            case .sequence(let sequence):
                return [
                    ("has_sequence_privilege('\(role)', \(quotedLiteral(sequence.sql)), '\(right)')", missing(right, object.sql))
                ]
            case .serial(let table, let column):
                let sequence = "pg_get_serial_sequence(\(quotedLiteral(table.sql)), \(quotedLiteral(column)))"
                return [
                    (
                        "COALESCE(has_sequence_privilege('\(role)', \(sequence), '\(right)'), true)",
                        missing(right, "the sequence of \(table).\(column)")
                    )
                ]
            case .function(let function, let arguments):
                let signature = quotedLiteral("\(function.sql)(\(arguments))")
                return [("has_function_privilege('\(role)', \(signature), '\(right)')", missing(right, object.sql))]
            case .schema(let name):
                return [
                    (
                        "has_schema_privilege('\(role)', \(quotedLiteral(name)), '\(right)')",
                        missing(right, "SCHEMA \(quotedIdentifier(name))")
                    )
                ]
            case .database:
                return [("has_database_privilege('\(role)', current_database(), '\(right)')", missing(right, "the DATABASE"))]
            }
        }
    }

    private func missing(_ right: String, _ object: String) -> String { "GRANT \(right) ON \(object) TO \(role)" }
}

extension Grant.Object {
    /// For GRANT and REVOKE.
    var sql: String {
        switch self {
        case .table(let table): "TABLE \(table.sql)"
        case .sequence(let sequence): "SEQUENCE \(sequence.sql)"
        case .function(let function, let arguments): "FUNCTION \(function.sql)(\(arguments))"
        default: preconditionFailure("it has no name of its own")
        }
    }
}

/// The rights of the group roles in one database.
package struct RoleGrants: Sendable {
    package let grants: [Grant]
    /// All that is ours there: what the roles have of it besides is taken from them.
    let objects: [Grant.Object]
    package var roles: [GroupRole] { GroupRole.allCases.filter { role in grants.contains { $0.role == role } } }

    /// Makes the roles that are missing. They are the whole cluster's: somebody else may make them at the same time.
    package var creation: String {
        """
        DO $$
        DECLARE
            role text;
        BEGIN
            FOREACH role IN ARRAY ARRAY[\(roles.map { "'\($0)'" }.joined(separator: ", "))] LOOP
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                    BEGIN
                        EXECUTE format('CREATE ROLE %I NOLOGIN', role);
                    EXCEPTION WHEN duplicate_object OR unique_violation THEN
                        NULL;
                    END;
                END IF;
            END LOOP;
        END $$;
        """
    }

    /// Gives each role what it needs, and takes what else it has.
    package var rights: String {
        let everyone = roles.map(\.rawValue).joined(separator: ", ")
        let seeing = GroupRole.seeingSessions.filter { roles.contains($0) }
        let lines =
            objects.map { "REVOKE ALL ON \($0.sql) FROM \(everyone);" } + grants.map(\.sql)
            + seeing.map {
                """
                DO $$
                BEGIN
                    IF NOT pg_has_role('\($0)', 'pg_read_all_stats', 'USAGE') THEN
                        GRANT pg_read_all_stats TO \($0);
                    END IF;
                EXCEPTION WHEN insufficient_privilege OR unique_violation THEN
                    NULL;  -- it does without
                END $$;
                """
            }
        return lines.joined(separator: "\n")
    }

    /// The statement that gives, one a row, what a role must have and has not.
    package var missing: String {
        let checks = grants.flatMap(\.checks).map { "(\($0.condition), \(quotedLiteral($0.missing)))" }
        return "SELECT missing FROM (VALUES \(checks.joined(separator: ",\n"))) c (granted, missing) WHERE NOT granted"
    }

    /// The same of what it can do without.
    package var wanting: String {
        let seeing = GroupRole.seeingSessions.filter { roles.contains($0) }
        guard !seeing.isEmpty else { return "SELECT WHERE false" }
        let list = seeing.map { "'\($0)'" }.joined(separator: ", ")
        return """
            SELECT 'GRANT pg_read_all_stats TO ' || r FROM unnest(ARRAY[\(list)]) r
            WHERE NOT pg_has_role(r, 'pg_read_all_stats', 'USAGE')
            """
    }
}
