import TestSupport
import Testing

/// `evt migrate --roles`, in clusters that know none of the roles.
@Suite(.serialized) struct RoleCommandTests {
    private func migrate(_ url: String, _ arguments: String...) async throws -> ChildProcess.Output {
        try await ChildProcess.run(
            "evt", ["migrate", "--roles"] + arguments, environment: ["EVT_DATABASE_URL": url, "EVT_ARCHIVE_URL": url])
    }

    private static let groups = ["evt_app", "evt_archiver", "evt_discarder", "evt_generator", "evt_monitor", "evt_pusher"]

    @Test func whoMayNotMakeRolesIsToldWhatToDo() async throws {
        try await PrivateCluster.with { cluster in
            try await TestDatabase.execute("CREATE ROLE plain LOGIN", on: cluster.url)
            try await TestDatabase.execute("CREATE DATABASE app OWNER plain", on: cluster.url)
            let mine = cluster.url(of: "app") + " user=plain"
            let refused = try await migrate(mine)
            #expect(refused.status != 0)
            for part in ["plain may not make roles", "superuser", "CREATEROLE", "CREATE ROLE evt_pusher NOLOGIN;"] {
                #expect(refused.text.contains(part), "\(refused.text)")
            }
            for group in Self.groups { try await TestDatabase.execute("CREATE ROLE \(group) NOLOGIN", on: cluster.url) }
            for _ in 0..<2 {
                let granted = try await migrate(mine)
                #expect(granted.status == 0 && !granted.text.contains("created the role"), "\(granted.text)")
                #expect(granted.text.contains("GRANT pg_read_all_stats TO evt_monitor"), "\(granted.text)")
            }
            try await TestLogin.make(on: mine.replacing("user=plain", with: "user=postgres"))
            let app = TestDatabase.url(cluster.url(of: "app"), as: .app)
            #expect(try await TestDatabase.number("SELECT evt_add('MINE', '1')", on: app) == 1)

            // Nobody but the owner can give what is the owner's.
            try await TestDatabase.execute("CREATE ROLE stranger LOGIN CREATEROLE", on: cluster.url)
            try await TestDatabase.execute(
                "GRANT SELECT ON ALL TABLES IN SCHEMA public TO stranger", on: cluster.url(of: "app"))
            let foreign = try await migrate(cluster.url(of: "app") + " user=stranger")
            #expect(foreign.status != 0, "\(foreign.text)")
        }
    }

    /// A database from which everybody's rights have been taken, and an owner who may make roles.
    @Test func anOwnerWhoMayMakeRolesNeedsNoSuperuserAndNobodyNeedsEverybodysRights() async throws {
        try await PrivateCluster.with { cluster in
            let url = cluster.url(of: "app")
            try await TestDatabase.execute("CREATE ROLE owner LOGIN CREATEROLE", on: cluster.url)
            try await TestDatabase.execute("CREATE DATABASE app OWNER owner", on: cluster.url)
            for sql in ["REVOKE ALL ON DATABASE app FROM PUBLIC", "REVOKE ALL ON SCHEMA public FROM PUBLIC"] {
                try await TestDatabase.execute(sql, on: url)
            }
            let made = try await migrate(url + " user=owner")
            #expect(made.status == 0, "\(made.text)")
            for group in Self.groups { #expect(made.text.contains("created the role \(group)"), "\(made.text)") }
            let attributes = "SELECT bool_or(rolcanlogin OR rolsuper OR rolcreaterole) FROM pg_roles WHERE rolname ~ '^evt_'"
            #expect(try await TestDatabase.rows(attributes, on: url) == [["f"]])
            try await ScratchDirectory.with { directory in
                let deployment = Deployment(active: url, warehouse: url, directory: directory)
                try await TestLogin.make(on: url)
                let processes = try deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
                try await processes["evt-generator"]!.serves()
                #expect(try await deployment.evt("add", "FIRST").status == 0)
                try await deployment.record("SECOND")
                try await eventually("the archive") { try await deployment.archived() == 2 }
                try await eventually("the discard") { try await deployment.backlog() == 0 }
                for command in [["status"], ["consumers"], ["generation"], ["history"], ["archive", "verify"]] {
                    let end = try await deployment.start("evt", command).ended()
                    #expect(end.status == 0, "\(command) \(end.text)")
                }
                try await processes.stop()
            }
        }
    }

    @Test func whoeverLooksOnChangesNothingAndThePushersRoleMayRegisterSetAndRenew() async throws {
        try await Deployment.with { deployment in
            try await deployment.record("MINE")
            let changes = [
                ["consumers", "register", "APP"], ["consumers", "set", "APP", "head"], ["generation", "--renew"],
                ["consumers", "rename", "APP", "OTHER"], ["consumers", "remove", "APP"],
            ]
            for change in changes {
                let refused = try await deployment.start("evt", change).ended()
                #expect(refused.status != 0 && refused.text.contains("permission denied"), "\(change) \(refused.text)")
            }
            let pusher = deployment.environment.merging(["EVT_DATABASE_URL": TestDatabase.url(deployment.active, as: .pusher)]) {
                $1
            }
            for (number, change) in changes.enumerated() {
                let end = try await ChildProcess.run("evt", change, environment: pusher)
                #expect((end.status == 0) == (number < 3), "\(change) \(end.text)")
            }
            #expect(try await deployment.position(of: "APP") == 1)
        }
    }

    @Test func theSQLThatIsPrintedDoesTheSame() async throws {
        try await TestDatabase.with(.empty) { url in
            let printed = try await migrate(url, "--print")
            #expect(printed.status == 0)
            let parts = printed.text.components(of: "-- The warehouse database\n")
            #expect(parts.count == 2 && parts[0].contains("evt_pusher") && !parts[0].contains("evt_archiver"))
            try await TestDatabase.execute(printed.text, on: url)
            try await TestLogin.make(on: url)
            let ran = try await migrate(url)
            #expect(ran.text.contains("active database: up to date") && ran.text.contains("warehouse: up to date"), "\(ran.text)")
            #expect(try await TestDatabase.number("SELECT evt_add('MINE', '1')", on: TestDatabase.url(url, as: .app)) == 1)
        }
    }

    @Test func everybodysRightToMakeFunctionsIsPointedOut() async throws {
        try await TestDatabase.with(.empty) { url in
            #expect(try await !migrate(url).text.contains("REVOKE CREATE"))
            try await TestDatabase.execute("GRANT CREATE ON SCHEMA public TO PUBLIC", on: url)
            #expect(try await migrate(url).text.contains("REVOKE CREATE ON SCHEMA \"public\" FROM PUBLIC"))
        }
    }
}

extension String {
    fileprivate func components(of separator: String) -> [Substring] {
        split(separator: separator, omittingEmptySubsequences: false)
    }
}
