import TestSupport
import Testing

@testable import LibPQ

@Suite(.serialized) struct CopyInTests {
    private struct Refused: Error, CustomStringConvertible {
        let description = "the source gave up"
    }

    /// Lines `0` to `rows - 1`, cut into pieces without regard to where lines end.
    private static func numbers(_ rows: Int, pieceSize: Int) -> CopySource {
        var bytes: [UInt8] = []
        for row in 0..<rows { bytes += Array("\(row)\n".utf8) }
        var position = 0
        return CopySource {
            guard position < bytes.count else { return nil }
            defer { position += pieceSize }
            return Array(bytes[position..<min(position + pieceSize, bytes.count)])
        }
    }

    @Test(arguments: [(0, 100), (1, 1), (1000, 1), (300_000, 8191), (300_000, 4_000_000)])
    func everyRowArrivesHoweverTheDataIsCut(rows: Int, pieceSize: Int) async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let copied = try await connection.copyIn(
                "COPY t FROM STDIN", from: Self.numbers(rows, pieceSize: pieceSize))
            #expect(copied == rows)
            let stored = try await connection.value("SELECT count(DISTINCT n) || ' ' || coalesce(sum(n), 0) FROM t")
            #expect(stored == "\(rows) \(rows * max(rows - 1, 0) / 2)")
        }
    }

    @Test func emptyPiecesAreNoEnd() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            var pieces: [[UInt8]] = [[], Array("1\n".utf8), [], [], Array("2\n".utf8), []]
            let copied = try await connection.copyIn(
                "COPY t FROM STDIN", from: CopySource { pieces.isEmpty ? nil : pieces.removeFirst() })
            #expect(copied == 2)
        }
    }

    @Test(arguments: [0, 1, 200])
    func aSourceThatThrowsRollsTheCopyBack(piecesBefore: Int) async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            var left = piecesBefore
            let piece = Array(String(repeating: "12345\n", count: 2000).utf8)
            let error = await failure {
                try await connection.copyIn(
                    "COPY t FROM STDIN",
                    from: CopySource {
                        guard left > 0 else { throw Refused() }
                        left -= 1
                        return piece
                    })
            }
            #expect(error?.message.contains("the source gave up") == true)
            let stored = try await connection.value("SELECT count(*) FROM t")
            #expect(stored == "0")
            try await connection.expectUsable()
        }
    }

    @Test func aPostgresErrorOfTheSourceIsThrownAsItIs() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let thrown = PostgresError(.server, "from elsewhere", sqlState: "40001")
            let error = await failure {
                try await connection.copyIn("COPY t FROM STDIN", from: CopySource { throw thrown })
            }
            #expect(error?.message == "from elsewhere")
            #expect(error?.sqlState == "40001")
            try await connection.expectUsable()
        }
    }

    @Test func aServerErrorMidwayIsThrownAndNothingIsStored() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            var piece = 0
            let good = Array(String(repeating: "1\n", count: 32_768).utf8)
            let error = await failure {
                try await connection.copyIn(
                    "COPY t FROM STDIN",
                    from: CopySource {
                        piece += 1
                        guard piece <= 400 else { return nil }
                        return piece == 20 ? Array("not a number\n".utf8) : good
                    })
            }
            #expect(error?.code == .server)
            #expect(error?.sqlState == "22P02")
            let stored = try await connection.value("SELECT count(*) FROM t")
            #expect(stored == "0")
            try await connection.expectUsable()
        }
    }

    @Test func aServerErrorAfterTheLastRowIsThrown() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            let error = await failure {
                try await connection.copyIn("COPY t FROM STDIN", from: CopySource(Array("1\n1\n".utf8)))
            }
            #expect(error?.sqlState == "23505")
            try await connection.expectUsable()
        }
    }

    @Test func aCopyThatCannotBeginDoesNotTouchItsSource() async throws {
        try await withConnection { connection, _ in
            var asked = false
            let error = await failure {
                try await connection.copyIn(
                    "COPY nowhere FROM STDIN",
                    from: CopySource {
                        asked = true
                        return nil
                    })
            }
            #expect(error?.sqlState == "42P01")
            #expect(!asked)
            try await connection.expectUsable()
        }
    }

    @Test func aCopyBelongsToTheTransactionAroundIt() async throws {
        struct Undo: Error {}
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            try? await connection.transaction {
                try await connection.copyIn("COPY t FROM STDIN", from: CopySource(Array("1\n".utf8)))
                throw Undo()
            }
            let undone = try await connection.value("SELECT count(*) FROM t")
            try await connection.transaction {
                _ = try await connection.copyIn("COPY t FROM STDIN", from: CopySource(Array("1\n".utf8)))
            }
            let kept = try await connection.value("SELECT count(*) FROM t")
            #expect(undone == "0")
            #expect(kept == "1")
        }
    }

    /// A source is asked no faster than the server takes the data, so memory stays bounded.
    @Test func theSourceWaitsForASlowServer() async throws {
        try await withConnection { connection, url in
            try await connection.script(BlockingTable.sql)
            let blocker = try await Connection.open(url, on: connection.loop)
            try await blocker.query("SELECT pg_advisory_lock(1)")
            let source = BlockingTable.Source()
            let copied = Log<Int?>()
            connection.submit(
                Command(.copyIn(BlockingTable.copy, source: source.source)) { copied.add(try? $0.get().affected) })
            try await BlockingTable.waitUntilBlocked(url: url)
            #expect(source.given < BlockingTable.pieces)
            try await blocker.query("SELECT pg_advisory_unlock(1)")
            try await eventually("the copy ends") { copied.count == 1 }
            #expect(source.given == BlockingTable.pieces)
            #expect(copied.entries == [0], "the trigger drops every row")
            try await connection.expectUsable()
        }
    }

    @Test func aPlainStatementThatCopiesInFailsAndLeavesTheConnectionUsable() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let plain = await failure { try await connection.query("COPY t FROM STDIN") }
            #expect(plain?.code == .invalidInput)
            try await connection.expectUsable()
            let script = await failure { try await connection.script("SELECT 1; COPY t FROM STDIN; SELECT 2") }
            #expect(script?.code == .invalidInput)
            try await connection.expectUsable()
            let out = await failure { try await connection.copyOut("COPY t FROM STDIN") { _ in } }
            #expect(out?.code == .invalidInput)
            try await connection.expectUsable()
        }
    }

    /// The server takes what was pipelined behind it for COPY data, and may end the connection over that.
    @Test func aPlainStatementThatCopiesInLeavesNoNeighbourUnanswered() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let outcomes = Log<String?>()
            for sql in ["SELECT 'before'", "COPY t FROM STDIN", "SELECT 'after'", "SELECT 'last'"] {
                connection.submit(Statement(sql)) { outcomes.add($0.text ?? $0.error?.code.rawValue) }
            }
            try await eventually("all are answered") { outcomes.count == 4 }
            #expect(outcomes.entries.prefix(2) == ["before", "invalidInput"])
            let behind = Array(outcomes.entries.dropFirst(2))
            #expect(behind == ["after", "last"] || behind == ["connectionLost", "connectionLost"])
        }
    }
}
