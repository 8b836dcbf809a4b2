import TestSupport
import Testing

@testable import LibPQ

@Suite(.serialized) struct PipelineTests {
    @Test func hundredsSubmittedAtOnceCompleteInOrder() async throws {
        try await withConnection { connection, _ in
            // What a new connection sends by itself.
            try await connection.query("SELECT 1")
            let answers = Log<String?>()
            for number in 0..<800 {
                connection.submit("SELECT $1::bigint", [.int8(Int64(number))]) { answers.add($0.text) }
            }
            #expect(connection.outstanding == 800)
            try await eventually("all are answered") { answers.count == 800 }
            #expect(answers.entries == (0..<800).map { "\($0)" })
            #expect(connection.outstanding == 0)
        }
    }

    @Test func oneFailingInTheMiddleDisturbsNoOther() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint CHECK (n <> 150))")
            let outcomes = Log<String>()
            for number in 0..<300 {
                connection.submit("INSERT INTO t VALUES ($1)", [.int8(Int64(number))]) {
                    outcomes.add($0.error?.sqlState?.rawValue ?? "inserted")
                }
            }
            try await eventually("all are answered") { outcomes.count == 300 }
            #expect(outcomes.entries == (0..<300).map { $0 == 150 ? "23514" : "inserted" })
            let stored = try await connection.value("SELECT count(*) FROM t")
            #expect(stored == "299")
        }
    }

    @Test func statementsOfEveryKindOfFailureAreAnsweredInOrder() async throws {
        try await withConnection { connection, _ in
            let outcomes = Log<String?>()
            let statements: [(Statement, [Parameter])] = [
                ("SELECT 1", []), ("SELEKT", []), ("SELECT $1::bigint", [.text("no number")]), ("SELECT 1 / 0", []),
                ("SELECT $1::text, $2::text", [.null]), ("", []), ("SELECT 'last'", []),
            ]
            for (statement, parameters) in statements {
                connection.submit(statement, parameters) { outcomes.add($0.text ?? $0.error?.sqlState?.rawValue) }
            }
            try await eventually("all are answered") { outcomes.count == statements.count }
            #expect(outcomes.entries == ["1", "42601", "22P02", "22012", "08P01", nil, "last"])
        }
    }

    @Test func aPipelinedTransactionAbortsAsAWhole() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let outcomes = Log<String>()
            for sql in ["BEGIN", "INSERT INTO t VALUES (1)", "SELECT 1 / 0", "INSERT INTO t VALUES (2)", "ROLLBACK"] {
                connection.submit(Statement(sql)) { outcomes.add($0.error?.sqlState?.rawValue ?? "done") }
            }
            let stored = try await connection.value("SELECT count(*) FROM t")
            #expect(outcomes.entries == ["done", "done", "22012", "25P02", "done"])
            #expect(stored == "0")
        }
    }

    @Test func aCompletionMaySubmitTheNextStatement() async throws {
        try await withConnection { connection, _ in
            let answers = Log<String?>()
            func next(_ connection: Connection, _ answers: Log<String?>, _ number: Int64) {
                guard number < 100 else { return }
                connection.submit("SELECT $1::bigint", [.int8(Int64(number))]) {
                    answers.add($0.text)
                    next(connection, answers, number + 1)
                }
            }
            next(connection, answers, 0)
            try await eventually("all are answered") { answers.count == 100 }
            #expect(answers.entries == (0..<100).map { "\($0)" })
        }
    }

    @Test func moreDataThanTheSocketsHoldGoesBothWaysAtOnce() async throws {
        try await withConnection { connection, _ in
            let lengths = Log<Int?>()
            let text = String(repeating: "x", count: 100_000)
            for number in 0..<300 {
                connection.submit("SELECT $1::text || $2::text", [.text(text), .text("\(number)")]) {
                    lengths.add($0.text?.utf8.count)
                }
            }
            try await eventually("all are answered") { lengths.count == 300 }
            #expect(lengths.entries == (0..<300).map { 100_000 + "\($0)".utf8.count })
        }
    }

    @Test func statementsScriptsAndCopiesShareOneQueue() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let finished = Log<String>()
            for round in 0..<40 {
                func report(_ what: String) -> (Result<Rows, PostgresError>) -> Void {
                    {
                        finished.add(
                            "\(round) \(what) \($0.error.map { $0.sqlState?.rawValue ?? "failed" } ?? $0.text ?? "done")")
                    }
                }
                connection.submit("SELECT count(*) FROM t", completion: report("count"))
                connection.submit(
                    Command(
                        .copyIn("COPY t FROM STDIN", source: CopySource(Array("1\n2\n3\n".utf8))),
                        completion: report("in")))
                connection.submit("SELECT 1 / 0", completion: report("error"))
                connection.submit(
                    Statement("SELECT $1::text", name: "echo"), [.text("echo")], completion: report("prepared"))
                connection.submit(
                    Command(.script("INSERT INTO t VALUES (4); SELECT 'script'"), completion: report("script")))
                connection.submit(Command(.script("SELEKT"), completion: report("bad script")))
                connection.submit(Command(.copyOut("COPY t TO STDOUT", sink: { _ in }), completion: report("out")))
                connection.submit(
                    Command(.copyIn("COPY nowhere FROM STDIN", source: CopySource([])), completion: report("bad in")))
            }
            try await eventually("all are answered") { finished.count == 320 }
            let expected = (0..<40).flatMap { round in
                [
                    "count \(round * 4)", "in done", "error 22012", "prepared echo", "script script", "bad script 42601",
                    "out done", "bad in 42P01",
                ].map { "\(round) \($0)" }
            }
            #expect(finished.entries == expected)
        }
    }

    @Test func aScriptSubmittedFromACompletionHasTheConnectionForItself() async throws {
        try await withConnection { connection, _ in
            let finished = Log<String?>()
            for number in 0..<20 {
                connection.submit("SELECT $1::bigint", [.int8(Int64(number))]) { result in
                    finished.add(result.text)
                    guard number % 5 == 0 else { return }
                    connection.submit(Command(.script("SELECT 'script \(number)'")) { finished.add($0.text) })
                }
            }
            try await eventually("all are answered") { finished.count == 24 }
            let scripts = [0, 5, 10, 15].map { "script \($0)" }
            #expect(finished.entries == (0..<20).map { "\($0)" } + scripts)
        }
    }
}
