import EventStream
import Testing

@Suite struct EventInsertTests {
    @Test func anInsertCallsTheStreamsFunctionWithTwoTextBinds() throws {
        let insert = try EventInsert(type: "ORDER_PAID", data: #"{"order": 17.0}"#)
        #expect(insert.sql == #"SELECT "evt_add"($1::text, $2::json)"#)
        #expect(insert.binds == ["ORDER_PAID", #"{"order": 17.0}"#])
    }

    @Test func otherTablesHaveTheirOwnFunction() throws {
        let tables = StreamTables(events: TableName("shop.Ev\"ents")!, consumers: TableName("shop.consumers")!)
        #expect(
            try EventInsert(type: "A", data: "null", tables: tables).sql == #"SELECT "shop"."Ev""ents_add"($1::text, $2::json)"#)
    }

    @Test(arguments: [("a b", "1"), ("", "1"), ("A'", "1"), ("A", ""), ("A", "{"), ("A", "1 2"), ("A", "'1'")])
    func anInvalidEventNeverReachesTheTransaction(_ type: String, _ data: String) {
        #expect(errorName { _ = try EventInsert(type: type, data: data) } == "InvalidRequest")
    }

    @Test func whatElseIsGivenIsNamed() throws {
        let insert = try EventInsert(type: "A", data: "1", meta: "{}", idempotencyKey: "x")
        #expect(insert.sql == #"SELECT "evt_add"($1::text, $2::json, meta => $3::json, idempotency_key => $4::text)"#)
        #expect(insert.binds == ["A", "1", "{}", "x"])
    }

    @Test(arguments: [("", "{}", "x"), ("k", "[]", "x"), ("k", "{", "x"), ("k", "{}", ""), ("k\0", "{}", "x")])
    func anInvalidKeyOrMetaNeverReachesTheTransaction(_ key: String, _ meta: String, _ once: String) {
        #expect(
            errorName { _ = try EventInsert(type: "A", data: "1", key: key, meta: meta, idempotencyKey: once) }
                == "InvalidRequest")
    }
}
