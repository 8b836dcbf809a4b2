import EventStreamDatabase

/// Roles that log in, each a member of the one group role it is called after; `serve` of those of all four processes.
package enum TestLogin: String, CaseIterable, Sendable {
    case app, generator, pusher, archiver, discarder, monitor, serve

    package var name: String { "evt_test_\(rawValue)" }

    private var groups: [GroupRole] {
        self == .serve
            ? [.generator, .pusher, .archiver, .discarder] : GroupRole.allCases.filter { $0.rawValue == "evt_\(rawValue)" }
    }

    /// Makes those that are missing, as far as there are group roles: a cluster may be that of one database only.
    package static func make(on url: String) async throws {
        for login in allCases {
            for group in login.groups {
                // Others may make them at the same time.
                try await TestDatabase.execute(
                    """
                    DO $$
                    BEGIN
                        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '\(group)') THEN
                            RETURN;
                        END IF;
                        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '\(login.name)') THEN
                            CREATE ROLE \(login.name) LOGIN;
                        END IF;
                        IF NOT pg_has_role('\(login.name)', '\(group)', 'MEMBER') THEN
                            GRANT \(group) TO \(login.name);
                        END IF;
                    EXCEPTION WHEN duplicate_object OR unique_violation THEN
                        NULL;
                    END $$
                    """, on: url)
            }
        }
    }
}

extension TestDatabase {
    /// The same database, for one of the roles instead of its owner.
    package static func url(_ url: String, as login: TestLogin) -> String { "\(url) user=\(login.name)" }
}
