import LibPQ
import Testing

@Suite(.serialized) struct QuotingTests {
    static let odd = [
        "plain", "With Space", "quo\"te", "\"\"", "it's", "''", "back\\slash", "\\", "\\'", "\\\"", "semi;colon", "$1",
        "%s", "äöü 日本語 🐘", "line\nbreak", "line\r\nbreak", "-- comment", "/* comment", "select",
    ]
    /// One Character of several scalars, the first of which means something in SQL.
    static let combined = ["'\u{301}", "a'\u{301}b'", "\"\u{301}", "x\"\u{20DD}\"", "\\\u{301}\\", "'\u{FE0F}; SELECT 1 --"]

    @Test(arguments: odd + combined + [""])
    func aLiteralMeansExactlyItsText(text: String) async throws {
        try await withConnection { connection, _ in
            for conforming in ["on", "off"] {
                try await connection.script(
                    "SET standard_conforming_strings = \(conforming); SET escape_string_warning = off")
                do {
                    let echoed = try await connection.value("SELECT \(quotedLiteral(text))::text")
                    #expect(echoed.map { Array($0.utf8) } == Array(text.utf8))
                } catch {
                    Issue.record("\(quotedLiteral(text)): \(error)")
                }
            }
        }
    }

    @Test(arguments: odd + combined)
    func anIdentifierMeansExactlyItsText(name: String) async throws {
        try await withConnection { connection, _ in
            do {
                let rows = try await connection.query(Statement("SELECT 1 AS \(quotedIdentifier(name))"))
                #expect(Array(rows.columnName(0).utf8) == Array(name.utf8))
            } catch {
                Issue.record("\(quotedIdentifier(name)): \(error)")
            }
        }
    }
}
