import EventStream
import EventStreamClient
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// An event's key and meta, and how evt_add takes its arguments.
@Suite(.serialized) struct KeyAndMetaTests {
    /// Calls that record one event, and what the row has then: type, data, key and meta.
    private static let calls: [(call: String, row: [String?])] = [
        ("'A', '{\"b\": 1.0}'", ["A", "{\"b\": 1.0}", nil, nil]),
        ("'A', '{\"b\": 1.0}'::json", ["A", "{\"b\": 1.0}", nil, nil]),
        ("'A', '{\"b\": 1.0, \"a\": 2}'::jsonb", ["A", "{\"a\": 2, \"b\": 1.0}", nil, nil]),
        ("'A', '[1 ,2]'::text", ["A", "[1 ,2]", nil, nil]),
        ("'A'::varchar, '[1 ,2]'::varchar", ["A", "[1 ,2]", nil, nil]),
        ("'A', to_jsonb(7), 'k'", ["A", "7", "k", nil]),
        ("'A', '1', key => 'order 17'", ["A", "1", "order 17", nil]),
        ("'A', '1', meta => '{\"x\" :1}'", ["A", "1", nil, "{\"x\" :1}"]),
        ("'A', '1', key => 'k', meta => json_build_object('a', 1)", ["A", "1", "k", "{\"a\" : 1}"]),
        ("'A', '1'::json, meta => '{}', key => 'k'", ["A", "1", "k", "{}"]),
        ("type => 'A', data => '1'", ["A", "1", nil, nil]),
        ("'A', '1', key => repeat('\u{e9}', 64)", ["A", "1", String(repeating: "\u{e9}", count: 64), nil]),
        (
            "'A', '1', meta => json_build_object('a', repeat('x', 4086))",
            ["A", "1", nil, "{\"a\" : \"\(String(repeating: "x", count: 4086))\"}"]
        ),
    ]

    @Test(arguments: calls.map(\.call)) func everyWayToCallRecordsWhatWasGiven(call: String) async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute("SELECT evt_add(\(call))", on: TestDatabase.url(url, as: .app))
            let row = try await TestDatabase.rows("SELECT type, data, key, meta FROM evt_queue", on: url)
            #expect(row == [Self.calls.first { $0.call == call }!.row])
        }
    }

    @Test func bindsNeedNoTypes() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.connected(to: TestDatabase.url(url, as: .app)) { connection in
                try await connection.query("SELECT evt_add($1, $2)", [.text("A"), .text("[1]")])
                try await connection.query(
                    "SELECT evt_add($1, $2, key => $3, meta => $4)", [.text("A"), .text("2"), .text("k"), .text("{}")])
            }
            let insert = try EventInsert(type: "A", data: "3", key: "k", meta: "{}", idempotencyKey: "once")
            #expect(
                insert.sql
                    == #"SELECT "evt_add"($1::text, $2::json, key => $3::text, meta => $4::json, idempotency_key => $5::text)"#)
            for _ in 0..<2 {
                _ = try await TestDatabase.connected(to: TestDatabase.url(url, as: .app)) {
                    try await $0.query(Statement(insert.sql), insert.binds.map { .text($0) })
                }
            }
            let rows = try await TestDatabase.rows("SELECT data, key, meta FROM evt_queue ORDER BY id", on: url)
            #expect(rows == [["[1]", nil, nil], ["2", "k", "{}"], ["3", "k", "{}"]])
        }
    }

    @Test func metaOfATransactionReachesEveryEventOfIt() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.connected(to: url) { connection in
                for sql in [
                    "BEGIN", "SET LOCAL eventstream.meta = '{\"trace\": \"t\"}'", "SELECT evt_add('A', '1')",
                    "SELECT evt_add('A', '2', key => 'k')", "SELECT evt_add('A', '3', meta => '{}')",
                    "SELECT evt_add('A', '4', idempotency_key => 'once')", "INSERT INTO evt_queue (type, data) VALUES ('A', '5')",
                    "INSERT INTO evt_queue (type, data, meta) VALUES ('A', '6', NULL)", "COMMIT",
                    // It is an empty text now.
                    "SELECT evt_add('A', '7')", "SELECT evt_add('A', '8', key => 'k')",
                    "INSERT INTO evt_queue (type, data) VALUES ('A', '9')",
                ] { try await connection.query(Statement(sql)) }
            }
            let rows = try await TestDatabase.rows("SELECT data, meta FROM evt_queue ORDER BY id", on: url)
            let trace = "{\"trace\": \"t\"}"
            #expect(
                rows == [
                    ["1", trace], ["2", trace], ["3", "{}"], ["4", trace], ["5", trace], ["6", nil], ["7", nil], ["8", nil],
                    ["9", nil],
                ])
        }
    }

    @Test(arguments: [
        ("SELECT evt_add('A', '1', key => '')", "invalid event key: 0 bytes, and the limit is 128 bytes"),
        ("SELECT evt_add('A', '1', key => repeat('\u{e9}', 65))", "invalid event key: 130 bytes, and the limit is 128 bytes"),
        ("INSERT INTO evt_queue (type, data, key) VALUES ('A', '1', repeat('x', 129))", "and the limit is 128 bytes"),
        ("SELECT evt_add('A', '1', meta => '[]')", "a JSON object is needed, not of the type array"),
        ("SELECT evt_add('A', '1', meta => 'null')", "a JSON object is needed, not of the type null"),
        (
            "SELECT evt_add('A', '1', meta => json_build_object('a', repeat('x', 4087)))",
            "event meta is too large: 4097 bytes, and the limit is 4096 bytes"
        ),
        ("SET eventstream.meta = '7'; SELECT evt_add('A', '1')", "a JSON object is needed, not of the type number"),
        ("SET eventstream.meta = '7'; INSERT INTO evt_queue (type, data) VALUES ('A', '1')", "a JSON object is needed"),
        ("SELECT set_config('eventstream.meta', '{' || repeat(' ', 4095) || '}', false); SELECT evt_add('A', '1')", "4096 bytes"),
        ("SELECT evt_add('A', '1', idempotency_key => '')", "invalid idempotency key: 0 bytes, and the limit is 200 bytes"),
        ("SELECT evt_add('A', '1', idempotency_key => repeat('x', 201))", "201 bytes, and the limit is 200 bytes"),
        ("SELECT evt_add('a', '1', key => 'k')", "invalid event type: 'a'"),
        ("SELECT evt_add('A', NULL, key => 'k')", "event data must not be NULL"),
    ])
    func whatIsNotValidIsRefusedInWords(_ sql: String, _ words: String) async throws {
        try await TestDatabase.with(.active) { url in
            let login = sql.contains("INSERT") ? TestDatabase.url(url, as: .generator) : TestDatabase.url(url, as: .app)
            let error = await #expect(throws: PostgresError.self) { try await TestDatabase.execute(sql, on: login) }
            #expect(error?.message.contains(words) == true && error?.sqlState?.category == "23", "\(error as Any)")
            let count = try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: url)
            #expect(count == 0)
        }
    }

    @Test func whoMightRecordEventsBeforeMayGiveThemKeys() async throws {
        try await TestDatabase.with(.empty) { url in
            let role = "evt_writer_\(UInt32.random(in: 0...UInt32.max))"
            let tables = StreamTables(events: TableName("public.evt_queue")!, consumers: TableName("public.evt_consumers")!)
            var older = tables.schema
            older.steps.removeAll { $0.name == "keys" }
            let before = older
            try await TestDatabase.connected(to: url) { _ = try await Migrator.migrate(before, on: $0) }
            try await TestDatabase.execute(
                """
                SELECT evt_add('OLD', '1');
                CREATE ROLE \(role); GRANT INSERT (type, data, ts) ON evt_queue TO \(role);
                GRANT USAGE ON SEQUENCE evt_queue_id_seq TO \(role); GRANT EXECUTE ON FUNCTION evt_add(text, json) TO \(role);
                """, on: url)
            try await TestDatabase.connected(to: url) { _ = try await Migrator.migrateActive(.standard, on: $0) }
            try await TestDatabase.execute(
                """
                SET ROLE \(role);
                INSERT INTO evt_queue (type, data, key, meta) VALUES ('A', '2', 'k', '{}');
                SELECT evt_add('A', '3', key => 'k'), evt_add('A', '4'::jsonb), evt_add('A', '5'::json, idempotency_key => 'once');
                """, on: url)
            let rows = try await TestDatabase.rows("SELECT data, key, meta FROM evt_queue ORDER BY id", on: url)
            #expect(rows == [["1", nil, nil], ["2", "k", "{}"], ["3", "k", nil], ["4", nil, nil], ["5", nil, nil]])
            try await TestDatabase.execute("DROP OWNED BY \(role); DROP ROLE \(role)", on: url)
        }
    }
}
