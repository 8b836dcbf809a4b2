import LibPQ
import TestSupport
import Testing

@Suite(.serialized) struct CopyOutTests {
    private struct Refused: Error, CustomStringConvertible {
        let description = "the sink gave up"
    }

    @Test func everyRowArrivesWholeAndInOrder() async throws {
        try await withConnection { connection, _ in
            var next = 0
            var wrong = 0
            let copied = try await connection.copyOut("COPY (SELECT generate_series(0, 299999)) TO STDOUT") { row in
                if !row.elementsEqual("\(next)\n".utf8) { wrong += 1 }
                next += 1
            }
            #expect(copied == 300_000)
            #expect(next == 300_000)
            #expect(wrong == 0)
            try await connection.expectUsable()
        }
    }

    @Test func largeRowsArriveWhole() async throws {
        try await withConnection { connection, _ in
            let sizes = Log<Int>()
            try await connection.copyOut("COPY (SELECT repeat('x', n * 1000000) FROM generate_series(1, 8) n) TO STDOUT") {
                sizes.add($0.count)
            }
            #expect(sizes.entries == (1...8).map { $0 * 1_000_000 + 1 })
        }
    }

    @Test func noRowsAreASuccess() async throws {
        try await withConnection { connection, _ in
            let rows = Log<Int>()
            let copied = try await connection.copyOut("COPY (SELECT 1 WHERE false) TO STDOUT") { rows.add($0.count) }
            #expect(copied == 0)
            #expect(rows.count == 0)
        }
    }

    @Test func aSinkThatThrowsIsAskedNoMoreAndItsErrorIsThrown() async throws {
        try await withConnection { connection, _ in
            var calls = 0
            let error = await failure {
                try await connection.copyOut("COPY (SELECT generate_series(1, 300000)) TO STDOUT") { _ in
                    calls += 1
                    if calls == 1000 { throw Refused() }
                }
            }
            #expect(error?.message.contains("the sink gave up") == true)
            #expect(calls == 1000)
            try await connection.expectUsable()
        }
    }

    @Test func aServerErrorMidwayFollowsTheRowsBeforeIt() async throws {
        try await withConnection { connection, _ in
            let rows = Log<Int>()
            let error = await failure {
                try await connection.copyOut("COPY (SELECT 1 / (5001 - n) FROM generate_series(1, 9000) n) TO STDOUT") {
                    rows.add($0.count)
                }
            }
            #expect(error?.sqlState == "22012")
            #expect(rows.count == 5000)
            try await connection.expectUsable()
        }
    }

    @Test func aPlainStatementThatCopiesOutFailsAndLeavesTheConnectionUsable() async throws {
        try await withConnection { connection, _ in
            let copy = "COPY (SELECT generate_series(1, 100000)) TO STDOUT"
            let plain = await failure { try await connection.query(Statement(copy)) }
            #expect(plain?.code == .invalidInput)
            try await connection.expectUsable()
            let script = await failure { try await connection.script("SELECT 1; \(copy); SELECT 2") }
            #expect(script?.code == .invalidInput)
            try await connection.expectUsable()
            let copyIn = await failure { try await connection.copyIn(copy, from: CopySource([])) }
            #expect(copyIn?.code == .invalidInput)
            try await connection.expectUsable()
        }
    }

    @Test func aPlainStatementThatCopiesOutDoesNotDisturbItsNeighbours() async throws {
        try await withConnection { connection, _ in
            let outcomes = Log<String?>()
            let copy = "COPY (SELECT generate_series(1, 100000)) TO STDOUT"
            for sql in ["SELECT 'before'", copy, "SELECT 'after'", "SELECT 'last'"] {
                connection.submit(Statement(sql)) { outcomes.add($0.text ?? $0.error?.code.rawValue) }
            }
            try await eventually("all are answered") { outcomes.count == 4 }
            #expect(outcomes.entries == ["before", "invalidInput", "after", "last"])
            try await connection.expectUsable()
        }
    }
}
