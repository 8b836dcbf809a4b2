import LibPQ
import TestSupport
import Testing

@Suite(.serialized) struct PreparedStatementTests {
    @Test func aNamedStatementIsPreparedOnceAndUsedAgain() async throws {
        try await withConnection { connection, _ in
            let double = Statement("SELECT $1::bigint * 2", name: "double")
            for number in 1...50 {
                let rows = try await connection.query(double, [.int8(Int64(number))])
                #expect(rows.int(0, 0) == Int64(number * 2))
            }
            let prepared = try await connection.value("SELECT string_agg(name, ',') FROM pg_prepared_statements")
            #expect(prepared == "double")
        }
    }

    @Test func anUnnamedStatementLeavesNothingPrepared() async throws {
        try await withConnection { connection, _ in
            for _ in 0..<3 { try await connection.query("SELECT 1") }
            let prepared = try await connection.value("SELECT count(*) FROM pg_prepared_statements")
            #expect(prepared == "0")
        }
    }

    @Test(arguments: ["with space", "quo\"te", "semi;colon", "Ünïcode"])
    func aNameMayHoldAnyCharacter(name: String) async throws {
        try await withConnection { connection, _ in
            let statement = Statement("SELECT 1 / $1::bigint", name: name)
            let first = try await connection.query(statement, [.int8(1)])
            #expect(first.int(0, 0) == 1)
            // A failure frees the name with DEALLOCATE, which must quote it.
            let error = await failure { try await connection.query(statement, [.int8(0)]) }
            #expect(error?.sqlState == "22012")
            let again = try await connection.query(statement, [.int8(1)])
            #expect(again.int(0, 0) == 1)
        }
    }

    @Test func aStatementWhosePreparationFailedIsPreparedAnew() async throws {
        try await withConnection { connection, _ in
            let statement = Statement("SELECT count(*) FROM later", name: "later")
            for _ in 0..<2 {
                let error = await failure { try await connection.query(statement) }
                #expect(error?.sqlState == "42P01")
            }
            try await connection.script("CREATE TABLE later ()")
            for _ in 0..<2 {
                let rows = try await connection.query(statement)
                #expect(rows.int(0, 0) == 0)
            }
        }
    }

    @Test func everyPipelinedUseOfAStatementThatCannotBePreparedFails() async throws {
        try await withConnection { connection, _ in
            let statement = Statement("SELECT count(*) FROM later", name: "later")
            let outcomes = Log<String>()
            for _ in 0..<20 {
                connection.submit(statement) { outcomes.add($0.error?.sqlState?.rawValue ?? "success") }
            }
            connection.submit("SELECT 'after'") { outcomes.add($0.text ?? "failure") }
            try await eventually("all are answered") { outcomes.count == 21 }
            #expect(outcomes.entries.first == "42P01")
            #expect(!outcomes.entries.dropLast().contains("success"))
            #expect(outcomes.entries.last == "after")
            try await connection.script("CREATE TABLE later ()")
            let rows = try await connection.query(statement)
            #expect(rows.int(0, 0) == 0)
        }
    }

    @Test func aStatementWhosePlanNoLongerFitsWorksAtTheNextUse() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
            let all = Statement("SELECT * FROM t", name: "all")
            let before = try await connection.query(all)
            #expect(before.columnCount == 1)
            try await connection.script("ALTER TABLE t ADD COLUMN b int")
            let error = await failure { try await connection.query(all) }
            #expect(error?.sqlState == "0A000")
            let after = try await connection.query(all)
            #expect(after.columnCount == 2)
        }
    }

    @Test func failingUsesAmongPipelinedOnesDisturbNoOther() async throws {
        try await withConnection { connection, _ in
            let divide = Statement("SELECT 10 / $1::bigint", name: "divide")
            let outcomes = Log<String?>()
            let divisors: [Int64] = [1, 2, 0, 5, 0, 10, 0, 1]
            for _ in 0..<2 {
                for divisor in divisors {
                    connection.submit(divide, [.int8(divisor)]) { outcomes.add($0.text ?? $0.error?.sqlState?.rawValue) }
                }
                try await connection.query("SELECT 1")
            }
            let expected = ["10", "5", "22012", "2", "22012", "1", "22012", "10"]
            #expect(outcomes.entries == expected + expected)
        }
    }

    @Test func aStatementThatFailedInsideATransactionWorksAfterIt() async throws {
        try await withConnection { connection, _ in
            let divide = Statement("SELECT 10 / $1::bigint", name: "divide")
            try await connection.query(divide, [.int8(1)])
            let error = await failure {
                try await connection.transaction { _ = try await connection.query(divide, [.int8(0)]) }
            }
            #expect(error?.sqlState == "22012")
            let rows = try await connection.query(divide, [.int8(5)])
            #expect(rows.int(0, 0) == 2)
        }
    }

    @Test func aStatementThatFailedInsideASavepointWorksAfterIt() async throws {
        try await withConnection { connection, _ in
            let divide = Statement("SELECT 10 / $1::bigint", name: "divide")
            try await connection.transaction {
                try await connection.query("SAVEPOINT before")
                let error = await failure { try await connection.query(divide, [.int8(0)]) }
                #expect(error?.sqlState == "22012")
                try await connection.query("ROLLBACK TO before")
                let rows = try await connection.query(divide, [.int8(5)])
                #expect(rows.int(0, 0) == 2)
            }
        }
    }

    @Test func manyNamesLiveSideBySide() async throws {
        try await withConnection { connection, _ in
            let outcomes = Log<String?>()
            for round in 0..<3 {
                for number in 0..<100 {
                    let add = Statement("SELECT \(number) + $1::bigint", name: "add \(number)")
                    connection.submit(add, [.int8(Int64(round))]) { outcomes.add($0.text) }
                }
            }
            try await eventually("all are answered") { outcomes.count == 300 }
            #expect(outcomes.entries == (0..<3).flatMap { round in (0..<100).map { "\($0 + round)" } })
        }
    }
}
