import LibPQ
import TestSupport
import Testing

@Suite(.serialized) struct ConnectionOptionsTests {
    /// Connects with `options` and returns the value of one run-time parameter.
    private static func setting(_ name: String, with options: ConnectionOptions) async throws -> String? {
        try await onLoop { loop in
            let connection = try await Connection.open(options, on: loop)
            return try await connection.value("SELECT current_setting($1)", [.text(name)])
        }
    }

    /// What is hidden is lost: nobody may say otherwise.
    @Test func rowsAreNeverHiddenWithoutAnError() async throws {
        try await TestDatabase.with(.empty) { url in
            for options in [
                ConnectionOptions(url), ConnectionOptions("\(url) options='-c row_security=on'"),
                ConnectionOptions(url, settings: ["row_security": "on"]),
            ] {
                let arrived = try await Self.setting("row_security", with: options)
                #expect(arrived == "off")
            }
        }
    }

    @Test func theApplicationNameArrives() async throws {
        try await TestDatabase.with(.empty) { url in
            let ours = ConnectionOptions(url, applicationName: "a name with spaces")
            let name = try await Self.setting("application_name", with: ours)
            #expect(name == "a name with spaces")
        }
    }

    @Test func theConnectionStringsOwnApplicationNameWins() async throws {
        try await TestDatabase.with(.empty) { url in
            let both = ConnectionOptions("\(url) application_name=theirs", applicationName: "ours")
            let name = try await Self.setting("application_name", with: both)
            #expect(name == "theirs")
        }
    }

    @Test(arguments: [
        "plain", "with space", " leading and trailing ", "back\\slash", "quote's \"both\"", "-c evt.other=1",
        "comma, semi;", "$user", "tab\there", "line\nbreak", "space and accent \u{301}",
    ])
    func aSettingArrivesUnchanged(value: String) async throws {
        try await TestDatabase.with(.empty) { url in
            let options = ConnectionOptions(url, settings: ["evt.text": value, "evt.zzz": "last"])
            let arrived = try await Self.setting("evt.text", with: options)
            #expect(arrived == value)
            let last = try await Self.setting("evt.zzz", with: options)
            #expect(last == "last")
        }
    }

    @Test func settingsJoinTheOptionsOfTheConnectionString() async throws {
        try await TestDatabase.with(.empty) { url in
            let options = ConnectionOptions(
                "\(url) options='-c evt.theirs=1 -c evt.both=theirs'", settings: ["evt.ours": "2", "evt.both": "ours"])
            let theirs = try await Self.setting("evt.theirs", with: options)
            let ours = try await Self.setting("evt.ours", with: options)
            let both = try await Self.setting("evt.both", with: options)
            #expect([theirs, ours, both] == ["1", "2", "ours"])
        }
    }

    static let limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"]

    @Test(arguments: limits) func aLimitSetForTheWholeDatabaseIsNotMeantForUs(limit: String) async throws {
        try await TestDatabase.with(.empty) { url in
            let name = try await TestDatabase.rows("SELECT current_database()", on: url)[0][0]!
            try await TestDatabase.execute("ALTER DATABASE \(name) SET \(limit) = '100ms'", on: url)
            let ours = try await Self.setting(limit, with: ConnectionOptions(url))
            #expect(ours == "0")
        }
    }

    @Test(arguments: limits.dropLast()) func aLimitMeantForUsCounts(limit: String) async throws {
        try await TestDatabase.with(.empty) { url in
            let theirs = ConnectionOptions("\(url) options='-c \(limit)=1min'")
            let given = try await Self.setting(limit, with: theirs)
            #expect(given == "1min")
            let set = try await Self.setting(limit, with: ConnectionOptions(url, settings: [limit: "2s"]))
            #expect(set == "2s")
        }
    }

    /// The locks of a client that is gone must not outlive it by hours.
    @Test func theServerIsToldToProbeTheConnection() async throws {
        try await TestDatabase.with(.empty) { url in
            let idle = try await Self.setting("tcp_keepalives_idle", with: ConnectionOptions(url))
            #expect(idle == "10")
            let theirs = ConnectionOptions("\(url) options='-c tcp_keepalives_idle=60'")
            let given = try await Self.setting("tcp_keepalives_idle", with: theirs)
            #expect(given == "60")
        }
    }

    @Test func aSettingTheServerRefusesIsAFailedConnection() async throws {
        try await TestDatabase.with(.empty) { url in
            let error = await failure {
                try await Self.setting("port", with: ConnectionOptions(url, settings: ["no_such_setting": "1"]))
            }
            #expect(error?.code == .connectionFailed)
            #expect(error?.message.contains("no_such_setting") == true)
        }
    }

    @Test func textIsAlwaysUTF8() async throws {
        try await TestDatabase.with(.empty) { url in
            let encoding = try await Self.setting(
                "client_encoding", with: ConnectionOptions("\(url) client_encoding=LATIN1"))
            #expect(encoding == "UTF8")
        }
    }

    @Test(arguments: [
        ("host=db1,db2 port=5432 dbname=app user=me password=secret", "host=db1,db2 port=5432 dbname=app user=me"),
        ("postgresql://me:secret@db1:5433/app?sslmode=require", "host=db1 port=5433 dbname=app user=me"),
        ("postgresql:///app?host=/run/postgresql&password=secret", "host=/run/postgresql dbname=app"),
        ("", "libpq defaults"), ("password='secret", "(unreadable connection string)"),
    ])
    func theDescriptionTellsWhereButNotThePassword(string: String, description: String) {
        #expect(ConnectionOptions(string).description == description)
    }

    /// A password that was not encoded is not taken for a host, a port or a database, which are told to everybody.
    @Test(arguments: [
        "postgresql://me:pass@s3cret@db1/app", "postgresql://me:pass/s3cret@db1/app", "postgresql://me:s3cret/?host=x@db1/app",
        "postgres://me:s3cret", "postgresql://me:x@db1:s3cret/app", "dbname=postgresql://me:s3cret@db1/app",
        "host=db1 password=pass s3cret", "host=db1 password='s3cret", "postgresql://me:pass%s3cret@db1/app",
    ])
    func whatMayBeAPartOfAPasswordIsNotRead(string: String) {
        let error = #expect(throws: PostgresError.self) { try ConnectionOptions(string).validate() }
        #expect(error?.code == .invalidInput && error?.message.contains("s3cret") == false)
        #expect(ConnectionOptions(string).description == "(unreadable connection string)")
        #expect(ConnectionOptions(string).holdsPassword)
    }

    @Test(arguments: [
        ("host=db1 password = x", true), ("postgresql://me:x@db1", true), ("postgresql://db1/?pass%77ord=x", true),
        ("host=db1 sslpassword=x", true), ("host=db1 passfile=/x user=me", false),
        ("postgresql://me@db1:5432,db2:5433/app", false),
        ("postgresql://db1/app?user=me@realm&application_name=a@b", false), ("tcp://127.0.0.1:5570,ipc:///a", false), ("", false),
    ])
    func aPasswordIsFoundWhereverItIs(string: String, holds: Bool) {
        #expect(ConnectionOptions(string).holdsPassword == holds)
    }

    @Test(arguments: ["", "dbname=app", "postgresql://", "postgresql://me@db1,db2:5433/app", "host=/tmp port=5432"])
    func readableConnectionStringsAreValid(string: String) throws {
        try ConnectionOptions(string).validate()
    }
}
