import EventStream
import EventStreamDatabase
import Testing

@Suite struct TableNameTests {
    @Test func aTableMayNameItsSchema() {
        #expect(TableName("evt_queue") == TableName(schema: nil, name: "evt_queue"))
        #expect(TableName("shop.events") == TableName(schema: "shop", name: "events"))
        #expect(TableName("shop.events")?.description == "shop.events")
    }

    @Test(arguments: [
        "", ".", "a.", ".b", "a.b.c", "a\0b", String(repeating: "x", count: 41), "a." + String(repeating: "é", count: 21),
    ])
    func whatIsNoTableNameIsRefused(_ text: String) {
        #expect(TableName(text) == nil)
    }

    @Test(arguments: [
        ("events", #""events""#), ("Shop.Events", #""Shop"."Events""#), ("a\"b.c\"\"d", #""a""b"."c""""d""#),
        ("a b;--", #""a b;--""#),
        ("été", "\"été\""),
    ])
    func namesAreQuotedForSQL(_ text: String, _ sql: String) {
        #expect(TableName(text)?.sql == sql)
    }

    @Test func aQuoteIsDoubledWhateverFollowsIt() {
        // A combining accent makes one character of itself and the quote before it.
        #expect(TableName("a\"\u{301}b").map { Array($0.sql.utf8) } == Array("\"a\"\"\u{301}b\"".utf8))
    }

    @Test func derivedNamesStayInTheSchemaAndFitPostgreSQL() {
        let longest = TableName("s." + String(repeating: "x", count: 40))!
        let tables = StreamTables(events: longest, consumers: TableName("c")!)
        let derived =
            [tables.state, tables.pushers, tables.migrations, tables.sequence, tables.add] + (0..<8).map { tables.segment($0) }
        for table in derived {
            #expect(table.schema == "s")
            #expect(table.name.utf8.count <= 63)
        }
        #expect(Set(derived).count == derived.count)
        let archive = ArchiveTables(history: longest)
        #expect(Set([archive.history, archive.positions, archive.migrations]).count == 3)
    }

    @Test func theStandardStreamHasTheShortFunction() {
        #expect(StreamTables.standard.add.sql == #""evt_add""#)
        #expect(StreamTables(events: TableName("shop.evt_queue")!, consumers: TableName("c")!).add.description == "shop.evt_add")
        #expect(StreamTables(events: TableName("orders")!, consumers: TableName("c")!).add.description == "orders_add")
    }

    @Test func aTableIsQualifiedOnlyIfItIsNot() {
        #expect(TableName("t")!.qualified(in: "s").description == "s.t")
        #expect(TableName("a.t")!.qualified(in: "s").description == "a.t")
    }

    @Test func segmentsFollowEachOtherAroundTheRing() {
        let size: Int64 = 1 << 17
        #expect(
            [1, size - 1, size, 7 * size, 8 * size - 1, 8 * size, 999_999_999_999_999_999].map {
                StreamTables.segmentIndex(of: EventID($0))
            }
                == [0, 0, 1, 7, 7, 0, Int(999_999_999_999_999_999 / size % 8)])
    }
}
