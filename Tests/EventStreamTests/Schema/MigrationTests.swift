import EventStream
import EventStreamDatabase
import Testing

@Suite struct MigrationTests {
    private func sql(_ events: String, _ consumers: String, _ history: String) -> [String] {
        [
            StreamTables(events: TableName(events)!, consumers: TableName(consumers)!).schema,
            ArchiveTables(history: TableName(history)!).schema,
        ].flatMap(\.steps).map(\.sql)
    }

    @Test func everyPlaceholderIsReplaced() {
        for sql in sql("s.events", "s.consumers", "w.history") { #expect(!sql.contains("{{") && !sql.contains("}}")) }
    }

    @Test func namesAreQuotedAsIdentifiersAndAsLiterals() {
        let sql = sql("s'x.my\"events", "s'x.consumers", "s'x.back\\slash")
        #expect(sql[0].contains(#"CREATE TABLE "s'x"."my""events" ("#))
        #expect(sql[0].contains(#"to_regclass('"s''x"."my""events"')"#))
        #expect(sql.contains { $0.contains(#"to_regclass( E'"s''x"."back\\slash"')"#) })
    }

    @Test func aNameThatLooksLikeAPlaceholderStaysAName() {
        #expect(sql("s.{{'state}}", "s.consumers", "w.history")[0].contains(#"CREATE TABLE "s"."{{'state}}" ("#))
    }

    /// A name may have a line break, and what follows would not be a comment any more.
    @Test func commentsHaveNoNames() {
        for line in sql("s.NAME", "s.NAME_C", "s.NAME").flatMap({ $0.split(separator: "\n") }) {
            guard let comment = line.firstRange(of: "--") else { continue }
            #expect(!line[comment.lowerBound...].contains("NAME"), "\(line)")
        }
    }
}
