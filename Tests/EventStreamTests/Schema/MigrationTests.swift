import Testing

@testable import EventStream

@Suite struct MigrationTests {
    private let tables = StreamTables(events: TableName("s'x.my\"events")!, consumers: TableName("s'x.consumers")!)

    @Test func migrationsAreNumberedFromOneWithoutGaps() {
        for migrations in [Migration.active, Migration.warehouse] {
            #expect(migrations.map(\.number) == Array(1...migrations.count))
            #expect(Set(migrations.map(\.name)).count == migrations.count)
        }
    }

    @Test func everyPlaceholderIsReplaced() {
        let all = tables.migrationSQL.map(\.sql) + ArchiveTables(history: TableName("w.history")!).migrationSQL.map(\.sql)
        for sql in all {
            #expect(!sql.contains("{{"))
            #expect(!sql.contains("}}"))
        }
    }

    @Test func namesAreQuotedAsIdentifiersAndAsLiterals() {
        let sql = tables.migrationSQL[0].sql
        #expect(sql.contains(#"CREATE TABLE "s'x"."my""events" ("#))
        #expect(sql.contains(#"to_regclass('"s''x"."my""events"')"#))
    }

    @Test func theSameTablesAlwaysGiveTheSameSQL() {
        #expect(tables.migrationSQL.map(\.sql) == tables.migrationSQL.map(\.sql))
    }
}
