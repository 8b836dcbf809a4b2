import EventStream
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// The group roles that `evt migrate --roles` makes, and what their members may do.
@Suite struct RoleTests {
    private func error(_ sql: String, on url: String) async throws -> String? {
        do {
            try await TestDatabase.execute(sql, on: url)
            return nil
        } catch let error as PostgresError {
            return error.sqlState?.rawValue
        }
    }

    /// Every right anybody holds on a table, sequence or function of ours besides its owner, as `role right object`.
    private func rights(like role: String, on url: String) async throws -> Set<String> {
        let rows = try await TestDatabase.rows(
            """
            SELECT DISTINCT format('%s %s %s', g, privilege, name) FROM (
                SELECT a.grantee, a.privilege_type AS privilege, c.relname AS name FROM pg_class c, aclexplode(c.relacl) a
                UNION ALL
                SELECT a.grantee, a.privilege_type, c.relname FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid,
                    aclexplode(t.attacl) a
                UNION ALL
                SELECT a.grantee, a.privilege_type, p.proname FROM pg_proc p, aclexplode(p.proacl) a
            ) held JOIN pg_roles r ON r.oid = held.grantee, LATERAL (SELECT r.rolname AS g) n WHERE r.rolname LIKE '\(role)'
            """, on: url)
        return Set(rows.compactMap { $0[0] })
    }

    @Test func anApplicationMayDoNothingButRecordEvents() async throws {
        try await TestDatabase.withStream { active, warehouse in
            let app = TestDatabase.url(active, as: .app)
            #expect(try await rights(like: "evt_app", on: active) == ["evt_app EXECUTE evt_add"])
            #expect(try await TestDatabase.number("SELECT evt_add('MINE', '1')", on: app) == 1)
            let tables = try await TestDatabase.rows(
                """
                SELECT c.oid::regclass, relkind FROM pg_class c
                WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')
                """, on: active)
            #expect(tables.count >= 15)
            for row in tables {
                let name = row[0]!
                let attempts =
                    row[1] == "S"
                    ? ["SELECT nextval('\(name)')", "SELECT setval('\(name)', 1)", "DROP SEQUENCE \(name)"]
                        // Whoever inserts into the table itself reads this one.
                        + (name == "evt_queue_settled" ? [] : ["SELECT last_value FROM \(name)"])
                    : [
                        "SELECT FROM \(name)", "INSERT INTO \(name) DEFAULT VALUES", "DELETE FROM \(name)", "TRUNCATE \(name)",
                        "COPY \(name) TO STDOUT", "BEGIN; LOCK TABLE \(name) IN ACCESS SHARE MODE; COMMIT", "DROP TABLE \(name)",
                        "CREATE TRIGGER t AFTER INSERT ON \(name) EXECUTE FUNCTION evt_queue_wake()",
                        "ALTER TABLE \(name) DISABLE TRIGGER ALL",
                    ]
                for attempt in attempts { #expect(try await error(attempt, on: app) == "42501", "\(attempt)") }
            }
            for attempt in [
                "INSERT INTO evt_queue (type, data) VALUES ('MINE', '1')", "UPDATE evt_consumers SET last_evt_id = 0",
                "CREATE TABLE mine ()", "DROP FUNCTION evt_add(text, json, text, json, text)",
                "ALTER FUNCTION evt_add(text, json, text, json, text) RESET ALL",
            ] { #expect(try await error(attempt, on: app) == "42501", "\(attempt)") }
            for attempt in ["SELECT FROM evt_history", "SELECT evt_history_partitions('2026-01-01', '2026-01-01')"] {
                #expect(try await error(attempt, on: TestDatabase.url(warehouse, as: .app)) == "42501", "\(attempt)")
            }
        }
    }

    /// Objects of a caller's own, in front of all others, that tell who has used them.
    private static func traps(_ operators: [(name: String, left: String, right: String, result: String)]) -> String {
        let functions = [
            "clock_timestamp()": "timestamptz", "now()": "timestamptz", "nextval(regclass)": "bigint",
            "octet_length(text)": "integer",
            "current_setting(text)": "text", "current_setting(text, boolean)": "text", "set_config(text, text, boolean)": "text",
            "pg_try_advisory_xact_lock_shared(bigint)": "boolean", "pg_advisory_xact_lock(bigint)": "void",
            "pg_notify(text, text)": "void", "pg_sequence_last_value(regclass)": "bigint", "quote_literal(text)": "text",
            "left(text, integer)": "text", "to_regclass(text)": "regclass", "format(text, text, text)": "text",
            "to_char(date, text)": "text", "to_char(timestamptz, text)": "text", "date_trunc(text, timestamptz)": "timestamptz",
            "date_trunc(text, date)": "date",
        ]
        let body = "LANGUAGE plpgsql AS $$ BEGIN INSERT INTO hostile.used VALUES (current_user); RETURN NULL; END $$"
        let made = functions.map { name, type in
            type == "void"
                ? "CREATE FUNCTION hostile.\(name) RETURNS void \(body.replacing("RETURN NULL;", with: ""));"
                : "CREATE FUNCTION hostile.\(name) RETURNS \(type) \(body);"
        }
        let shadows = operators.enumerated().map { number, item in
            """
            CREATE FUNCTION hostile.o\(number)(a \(item.left), b \(item.right)) RETURNS \(item.result) \(body);
            CREATE OPERATOR hostile.\(item.name)
                (LEFTARG = \(item.left), RIGHTARG = \(item.right), FUNCTION = hostile.o\(number));
            """
        }
        return """
            CREATE TABLE hostile.used (who name);
            GRANT INSERT ON hostile.used TO PUBLIC; GRANT USAGE ON SCHEMA hostile TO PUBLIC;
            \((made + shadows).joined(separator: "\n"))
            SET search_path = pg_temp, hostile, pg_catalog, public;
            """
    }

    @Test func aHostileCallerCannotMakeTheFunctionDoAnythingElse() async throws {
        try await TestDatabase.with(.active) { active in
            try await TestDatabase.execute("CREATE SCHEMA hostile AUTHORIZATION evt_test_app", on: active)
            try await TestDatabase.connected(to: TestDatabase.url(active, as: .app)) { connection in
                try await connection.script(
                    Self.traps(
                        [
                            ("~", "text", "text", "boolean"), ("!~", "text", "text", "boolean"),
                            ("<<", "bigint", "integer", "bigint"),
                            ("|", "bigint", "bigint", "bigint"), ("||", "text", "text", "text"), ("=", "text", "text", "boolean"),
                            ("<", "bigint", "bigint", "boolean"), (">>", "bigint", "integer", "bigint"),
                        ]))
                try await connection.script(
                    """
                    CREATE TEMP TABLE evt_queue (id bigint, type text, data json, ts timestamp, bytes integer);
                    CREATE TABLE hostile.evt_queue (LIKE evt_queue);
                    CREATE TEMP SEQUENCE evt_queue_id_seq; CREATE TEMP SEQUENCE evt_queue_settled;
                    CREATE DOMAIN pg_temp.bigint AS text; CREATE DOMAIN hostile.json AS text;
                    CREATE FUNCTION pg_temp.evt_queue_wake() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
                    CREATE TRIGGER mine AFTER INSERT ON pg_temp.evt_queue EXECUTE FUNCTION pg_temp.evt_queue_wake();
                    SET standard_conforming_strings = off; SET transform_null_equals = on; SET synchronous_commit = off;
                    SET row_security = off; SET DateStyle = 'SQL, DMY';
                    SET eventstream.notify = 'on'; SET TimeZone = 'Pacific/Kiritimati';
                    """)
                // The traps work: this is how one is caught.
                try await connection.query("SELECT 'a'::text ~ 'b'::text, clock_timestamp()")
                for number in 1...3 {
                    let id = try await connection.query(
                        Statement("SELECT public.evt_add('HOSTILE', '\(number)'::pg_catalog.json)"))
                    #expect(id.string(0, 0) == "\(number)")
                }
                for wrong in ["'not a type', '1'::pg_catalog.json", "'NOTHING', NULL"] {
                    do {
                        try await connection.query(Statement("SELECT public.evt_add(\(wrong))"))
                        Issue.record("\(wrong) was taken")
                    } catch let error as PostgresError {
                        #expect(error.sqlState?.category == "23", "\(error)")
                    }
                }
                #expect(try await connection.query("SELECT FROM pg_temp.evt_queue").count == 0)
            }
            #expect(try await TestDatabase.rows("SELECT DISTINCT who FROM hostile.used", on: active) == [["evt_test_app"]])
            let recorded = try await TestDatabase.rows(
                "SELECT id, type, data, bytes, ts > now() AT TIME ZONE 'UTC' - interval '1 hour' FROM evt_queue ORDER BY id",
                on: active)
            #expect(recorded == (1...3).map { ["\($0)", "HOSTILE", "\($0)", "1", "t"] })
        }
    }

    @Test func aHostileArchiverCannotMakeTheWarehousesFunctionDoAnythingElse() async throws {
        try await TestDatabase.with(.warehouse) { warehouse in
            try await TestDatabase.execute("CREATE SCHEMA hostile AUTHORIZATION evt_test_archiver", on: warehouse)
            try await TestDatabase.connected(to: TestDatabase.url(warehouse, as: .archiver)) { connection in
                try await connection.script(
                    Self.traps(
                        [
                            ("||", "text", "text", "text"), ("<=", "date", "date", "boolean"), ("=", "oid", "oid", "boolean"),
                            ("+", "date", "interval", "timestamp"), ("+", "integer", "integer", "integer"),
                            ("<<", "bigint", "integer", "bigint"), ("|", "bigint", "bigint", "bigint"),
                        ]))
                try await connection.script(
                    """
                    CREATE TEMP TABLE evt_history (id bigint, type text, data json, ts timestamp);
                    CREATE TEMP TABLE evt_history_default (LIKE evt_history);
                    CREATE TEMP TABLE pg_class (LIKE pg_catalog.pg_class); CREATE DOMAIN pg_temp.date AS text;
                    SET standard_conforming_strings = off; SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Pacific/Kiritimati';
                    """)
                try await connection.query("SELECT 'a'::text || 'b'::text")
                let made = try await connection.query(
                    "SELECT public.evt_history_partitions('01/02/2031'::pg_catalog.date, '03/03/2031'::pg_catalog.date)")
                #expect(made.int(0, 0) == 2)
            }
            #expect(
                try await TestDatabase.rows("SELECT DISTINCT who FROM hostile.used", on: warehouse) == [["evt_test_archiver"]])
            #expect(
                try await TestDatabase.rows(
                    """
                    SELECT relnamespace::regnamespace, relname, pg_get_expr(relpartbound, oid) FROM pg_class
                    WHERE relname ~ '_y2031m..$' ORDER BY 2
                    """, on: warehouse) == [
                        [
                            "public", "evt_history_y2031m02",
                            "FOR VALUES FROM ('2031-02-01 00:00:00') TO ('2031-03-01 00:00:00')",
                        ],
                        [
                            "public", "evt_history_y2031m03",
                            "FOR VALUES FROM ('2031-03-01 00:00:00') TO ('2031-04-01 00:00:00')",
                        ],
                    ])
        }
    }

    /// Every function of ours that works with its owner's rights has a search_path of its own, and is not everybody's. One is called by
    /// a trigger for whoever inserts; it takes nothing, and tells nothing to a session that has drawn no id.
    @Test func functionsWithTheRightsOfTheirOwnerArePinned() async throws {
        try await TestDatabase.withStream { active, warehouse in
            for (url, expected) in [
                (
                    active,
                    [
                        ["evt_add", "t", "f"], ["evt_add", "t", "f"], ["evt_consumers_registering", "t", "f"],
                        ["evt_queue_add_all", "t", "f"], ["evt_queue_check_ids", "t", "t"], ["evt_queue_rotate", "t", "f"],
                    ]
                ),
                (warehouse, [["evt_history_partitions", "t", "f"]]),
            ] {
                let functions = try await TestDatabase.rows(
                    """
                    SELECT proname, 'search_path=pg_catalog, pg_temp' = ANY (proconfig),
                        has_function_privilege('public', oid, 'EXECUTE')
                    FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace ORDER BY 1
                    """, on: url)
                #expect(functions == expected)
            }
        }
    }

    @Test func rightsAreBroughtUpToDate() async throws {
        try await TestDatabase.withStream { active, warehouse in
            let before = (try await rights(like: "evt\\_%", on: active), try await rights(like: "evt\\_%", on: warehouse))
            #expect(
                before.0.contains("evt_discarder TRUNCATE evt_queue_7")
                    && before.1.contains("evt_archiver INSERT evt_history_lost"))
            try await TestDatabase.execute(
                """
                REVOKE ALL ON evt_queue, evt_queue_state FROM evt_pusher;
                REVOKE ALL ON FUNCTION evt_add(text, json, text, json, text) FROM evt_app;
                GRANT ALL ON evt_queue_0, evt_consumers TO evt_app; GRANT UPDATE (data) ON evt_queue TO evt_pusher;
                """, on: active)
            try await TestDatabase.execute(
                "REVOKE ALL ON evt_history FROM evt_archiver; GRANT DELETE ON evt_history_sums TO evt_monitor", on: warehouse)
            #expect(try await rights(like: "evt\\_%", on: active) != before.0)
            for _ in 0..<2 {
                try await TestDatabase.connected(to: active) { _ = try await Migrator.grantActive(.standard, on: $0) }
                try await TestDatabase.connected(to: warehouse) { _ = try await Migrator.grantWarehouse(.standard, on: $0) }
                #expect(try await rights(like: "evt\\_%", on: active) == before.0)
                #expect(try await rights(like: "evt\\_%", on: warehouse) == before.1)
            }
        }
    }

    @Test func otherNamesAndSchemasAreQuoted() async throws {
        let (schema, other) = ("Sch\"e'ma", "cons umers")
        let tables = StreamTables(
            events: TableName(schema: schema, name: "q\"ue'ue"), consumers: TableName(schema: other, name: "select"))
        let archive = ArchiveTables(history: TableName(schema: schema, name: "his'tory"))
        try await TestDatabase.with(.empty) { url in
            try await TestDatabase.connected(to: url) { connection in
                for name in [schema, other] {
                    try await connection.query(Statement("CREATE SCHEMA \(quotedIdentifier(name))"))
                }
                _ = try await Migrator.migrateActive(tables, on: connection)
                _ = try await Migrator.grantActive(tables, on: connection)
                _ = try await Migrator.migrateWarehouse(archive, on: connection)
                let report = try await Migrator.grantWarehouse(archive, on: connection)
                #expect(report.roles == [.pusher, .archiver, .discarder, .monitor] && report.advice.isEmpty)
            }
            try await TestLogin.make(on: url)
            #expect(try await TestDatabase.number("SELECT \(tables.add.sql)('A', '1')", on: TestDatabase.url(url, as: .app)) == 1)
            for login in [TestLogin.pusher, .monitor] {
                try await TestDatabase.connected(to: TestDatabase.url(url, as: login)) { connection in
                    let info = try await StreamInfo.load(tables, from: connection)
                    _ = try await StreamStatus.load(info, from: connection)
                }
            }
            try await TestDatabase.connected(to: TestDatabase.url(url, as: .archiver)) { connection in
                let store = try await HistoryStore.load(
                    archive, archiver: ConsumerIdentity(component: .archiver), from: connection)
                try await store.makePartitions(for: [EventTimestamp(microseconds: 0)], on: connection)
                let standing = try await store.begin(.all, on: connection)
                let event = Event(
                    id: EventID(1), type: EventType("A")!, data: try RawJSON("1"), timestamp: EventTimestamp(microseconds: 0))
                let outcome = try await store.append([event], from: standing, comparing: true, on: connection)
                #expect(outcome == .copied(1, lost: 0))
            }
        }
    }

    /// Also by those that were made after the rights were given.
    @Test func theHistorysPartitionsAreReachedThroughIt() async throws {
        try await TestDatabase.with(.warehouse) { warehouse in
            let archiver = TestDatabase.url(warehouse, as: .archiver)
            #expect(try await TestDatabase.number("SELECT evt_history_partitions('2033-05-01', '2033-05-01')", on: archiver) == 1)
            try await TestDatabase.execute(
                "INSERT INTO evt_history (id, type, data, ts) VALUES (1, 'LATER', '1', '2033-05-05')", on: archiver)
            for login in [TestLogin.discarder, .monitor] {
                let found = "SELECT count(*) FROM evt_history WHERE ts > '2033-01-01'"
                #expect(try await TestDatabase.number(found, on: TestDatabase.url(warehouse, as: login)) == 1)
                #expect(
                    try await error("DELETE FROM evt_history", on: TestDatabase.url(warehouse, as: login)) == "42501")
            }
        }
    }
}
