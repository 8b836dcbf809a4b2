import LibPQ
import TestSupport
import Testing

@Suite(.serialized) struct ErrorTests {
    @Test func aServerErrorCarriesWhatTheServerSaid() async throws {
        try await withConnection { connection, _ in
            let error = await failure {
                try await connection.script(
                    """
                    DO $$ BEGIN
                        RAISE 'the message' USING ERRCODE = 'XY123', DETAIL = 'the detail', HINT = 'the hint';
                    END $$
                    """)
            }
            #expect(error?.code == .server)
            #expect(error?.message == "the message")
            #expect(error?.sqlState == "XY123")
            #expect(error?.detail == "the detail")
            #expect(error?.hint == "the hint")
            #expect(error?.description == "the message (SQLSTATE XY123); the detail; hint: the hint")
        }
    }

    @Test func detailAndHintAreNilWhereTheServerGivesNone() async throws {
        try await withConnection { connection, _ in
            let error = await failure { try await connection.query("SELECT 1 / 0") }
            #expect(error?.sqlState == "22012")
            #expect(error?.detail == nil)
            #expect(error?.hint == nil)
        }
    }

    @Test func aUniqueViolationNamesTheKey() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint PRIMARY KEY); INSERT INTO t VALUES (7)")
            let error = await failure { try await connection.query("INSERT INTO t VALUES (7)") }
            #expect(error?.sqlState == "23505")
            #expect(error?.detail?.contains("(n)=(7)") == true)
            #expect(error?.isRetriable == false)
        }
    }

    @Test func aLockThatIsNotToBeHadIsRetriable() async throws {
        try await withConnection { connection, url in
            try await connection.script("CREATE TABLE t ()")
            try await connection.transaction {
                try await connection.query("LOCK TABLE t")
                let error = await failure {
                    try await TestDatabase.execute("SET lock_timeout = 1; LOCK TABLE t", on: url)
                }
                #expect(error?.sqlState == "55P03")
                #expect(error?.isRetriable == true)
            }
        }
    }

    @Test func aNoticeIsNoError() async throws {
        try await withConnection { connection, _ in
            try await connection.query("DROP TABLE IF EXISTS nowhere")
            try await connection.expectUsable()
        }
    }
}

struct ErrorKindTests {
    @Test(arguments: [
        "08006", "40001", "40P01", "53300", "53100", "57P01", "57P03", "57014", "58030", "55P03", "25006",
    ])
    func theseServerErrorsMayPassWithTime(sqlState: String) {
        #expect(PostgresError(.server, "", sqlState: SQLState(rawValue: sqlState)).isRetriable)
    }

    @Test(arguments: ["23505", "42601", "42P01", "22012", "25P02", "28P01", "55000", "0A000", "P0001"])
    func theseServerErrorsStay(sqlState: String) {
        #expect(!PostgresError(.server, "", sqlState: SQLState(rawValue: sqlState)).isRetriable)
    }

    @Test func connectionTroubleIsRetriableAndMisuseIsNot() {
        #expect(PostgresError(.connectionFailed, "").isRetriable)
        #expect(PostgresError(.connectionLost, "").isRetriable)
        #expect(!PostgresError(.closed, "").isRetriable)
        #expect(!PostgresError(.invalidInput, "").isRetriable)
        #expect(!PostgresError(PostgresError.Code(rawValue: "something new"), "").isRetriable)
    }
}
