import LibPQ
import PosixLoop
import TestSupport
import Testing

@Suite(.serialized) struct ConnectingTests {
    private static let password = "open-sesame-4711"

    private static func error(
        connectingTo string: String, timeout: Duration = .seconds(60), on loop: EventLoop
    ) async -> PostgresError? {
        await failure { try await Connection.open(ConnectionOptions(string, connectTimeout: timeout), on: loop) }
    }

    private static func expectNoPassword(in error: PostgresError?, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(error != nil, sourceLocation: sourceLocation)
        var dumped = ""
        dump(error, to: &dumped)
        #expect(!dumped.contains(password), sourceLocation: sourceLocation)
    }

    @Test func anOpenConnectionKnowsItsServer() async throws {
        try await withConnection { connection, url in
            #expect(connection.isOpen)
            #expect(connection.serverVersion >= 130_000)
            let pid = try await connection.value("SELECT pg_backend_pid()")
            #expect(pid == "\(connection.backendProcessID)")
            #expect(connection.parameterStatus("client_encoding") == "UTF8")
            #expect(connection.parameterStatus("no such parameter") == nil)
        }
    }

    @Test func aPortWhereNobodyListensIsRefused() async throws {
        try await onLoop { loop in
            let server = LocalServer(.refusing, on: loop)
            let error = await Self.error(
                connectingTo: "host=127.0.0.1 port=\(server.port) user=me password=\(Self.password)", on: loop)
            #expect(error?.code == .connectionFailed)
            #expect(error?.isRetriable == true)
            #expect(error?.mayHaveBeenExecuted == false)
            #expect(error?.message.contains("port=\(server.port)") == true)
            Self.expectNoPassword(in: error)
        }
    }

    @Test func aServerThatNeverAnswersIsGivenUp() async throws {
        try await onLoop { loop in
            let server = LocalServer(.silent, on: loop)
            let error = await Self.error(
                connectingTo: "postgresql://me:\(Self.password)@127.0.0.1:\(server.port)/db?sslmode=disable",
                timeout: .milliseconds(50), on: loop)
            #expect(error?.code == .connectionFailed)
            #expect(error?.message.contains("no answer within") == true)
            Self.expectNoPassword(in: error)
        }
    }

    @Test func aServerThatIsNoPostgreSQLIsAFailedConnection() async throws {
        try await onLoop { loop in
            for manner in [LocalServer.Manner.closing, .answering("HTTP/1.1 400 Bad Request\r\n\r\n")] {
                let server = LocalServer(manner, on: loop)
                let error = await Self.error(
                    connectingTo: "postgresql://me:\(Self.password)@127.0.0.1:\(server.port)/db", on: loop)
                #expect(error?.code == .connectionFailed)
                Self.expectNoPassword(in: error)
            }
        }
    }

    @Test(arguments: [("no_such_database", ""), ("postgres", "no_such_user")])
    func anUnknownDatabaseOrUserIsNamed(database: String, user: String) async throws {
        try await onLoop { loop in
            let login = user.isEmpty ? "" : " user=\(user)"
            let error = await Self.error(
                connectingTo: "\(TestDatabase.url(of: database))\(login) password=\(Self.password)", on: loop)
            #expect(error?.code == .connectionFailed)
            #expect(error?.message.contains("no_such_") == true)
            Self.expectNoPassword(in: error)
        }
    }

    @Test(arguments: [
        "host=localhost password='\(password)", "password=\(password) nonsense", "password=\(password) no_such_option=1",
        "postgresql://me:\(password)%zz@localhost/db", "postgresql://me:\(password)@[::1/db",
        "postgresql://me:\(password)@localhost/db?no_such_option=1",
    ])
    func anUnreadableConnectionStringIsInvalidInput(string: String) async throws {
        let options = ConnectionOptions(string)
        #expect(throws: PostgresError.self) { try options.validate() }
        #expect(!"\(options)".contains(Self.password))
        try await onLoop { loop in
            let error = await Self.error(connectingTo: string, on: loop)
            #expect(error?.code == .invalidInput)
            #expect(error?.isRetriable == false)
            Self.expectNoPassword(in: error)
        }
    }

    @Test func theNextHostIsTriedWhenOneRefuses() async throws {
        try await TestDatabase.with(.empty) { url in
            let home = try await TestDatabase.rows(
                "SELECT coalesce(host(inet_server_addr()), ''), current_setting('port'),"
                    + " split_part(current_setting('unix_socket_directories'), ',', 1)", on: url)
            let address = home[0].map { $0 ?? "" }
            let live = address[0].isEmpty ? address[2] : address[0]
            try await onLoop { loop in
                let dead = LocalServer(.refusing, on: loop)
                let connection = try await Connection.open(
                    "\(url) host=127.0.0.1,\(live) port=\(dead.port),\(address[1])", on: loop)
                try await connection.expectUsable()
            }
        }
    }

    @Test(arguments: [1, 2]) func theNextHostIsTriedWhenOneSaysNothing(silent count: Int) async throws {
        try await TestDatabase.with(.empty) { url in
            let home = try await TestDatabase.rows(
                "SELECT coalesce(host(inet_server_addr()), ''), current_setting('port'),"
                    + " split_part(current_setting('unix_socket_directories'), ',', 1)", on: url)
            let address = home[0].map { $0 ?? "" }
            let live = address[0].isEmpty ? address[2] : address[0]
            try await onLoop { loop in
                let dead = (0..<count).map { _ in LocalServer(.silent, on: loop) }
                let hosts = (dead.map { _ in "127.0.0.1" } + [live]).joined(separator: ",")
                let ports = (dead.map { "\($0.port)" } + [address[1]]).joined(separator: ",")
                let options = ConnectionOptions("\(url) host=\(hosts) port=\(ports)", connectTimeout: .seconds(1))
                // The live one has no longer than the others, and a busy machine may need more.
                let connection = try await eventually("a connection") { try? await Connection.open(options, on: loop) }
                try await connection.expectUsable()
            }
        }
    }

    @Test func allHostsThatSayNothingAreNamed() async throws {
        try await onLoop { loop in
            let dead = (0..<2).map { _ in LocalServer(.silent, on: loop) }
            let error = await Self.error(
                connectingTo: "host=127.0.0.1,127.0.0.1 port=\(dead[0].port),\(dead[1].port) user=me sslmode=disable",
                timeout: .milliseconds(50), on: loop)
            for server in dead {
                #expect(error?.message.contains("no answer within 0.05 seconds from 127.0.0.1 port \(server.port)") == true)
            }
        }
    }

    @Test func manyAttemptsAtOnceDoNotDisturbEachOther() async throws {
        try await TestDatabase.with(.empty) { url in
            try await onLoop { loop in
                let keepers = (0..<5).map { _ in PersistentConnection(ConnectionOptions(url), on: loop) }
                for keeper in keepers { keeper.start() }
                try await eventually("all are open") { keepers.allSatisfy { $0.current != nil } }
                for keeper in keepers {
                    try await keeper.current?.expectUsable()
                    keeper.stop()
                }
            }
        }
    }
}
