import EventStream
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// The table the history is kept in, for years.
@Suite(.serialized) struct HistoryTableTests {
    private func partitions(_ url: String) async throws -> [String] {
        try await TestDatabase.rows(
            """
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'evt_history'::regclass ORDER BY 1
            """, on: url
        ).map { $0[0]! }
    }

    private func month(_ ahead: Int) async throws -> String {
        try await TestDatabase.rows(
            "SELECT to_char((now() AT TIME ZONE 'UTC') + interval '\(ahead) months', '\"evt_history_y\"YYYY\"m\"MM')",
            on: TestDatabase.url(of: "postgres"))[0][0]!
    }

    @Test func partitionsOfTheMonthsToComeAreThere() async throws {
        try await TestDatabase.with(.warehouse) { warehouse in
            let expected = [try await month(0), try await month(1), try await month(2), try await month(3)]
            #expect(try await partitions(warehouse) == ["evt_history_default"] + expected)
        }
    }

    @Test func theArchiverMakesWhatIsMissingAndTheRestGoesIntoTheDefault() async throws {
        try await Pipeline.with([]) { pipeline in
            let (now, ahead) = (try await month(0), try await month(2))
            try await TestDatabase.execute("DROP TABLE \(now); DROP TABLE \(ahead)", on: pipeline.warehouse)
            // Somebody's event is there already, in the default partition.
            try await pipeline.record("NOW", ["1"])
            let ts = try await TestDatabase.rows("SELECT ts FROM evt_queue", on: pipeline.active)[0][0]!
            try await TestDatabase.execute("INSERT INTO evt_history VALUES (1, 'NOW', '1', '\(ts)')", on: pipeline.warehouse)
            try await TestDatabase.execute(
                """
                INSERT INTO evt_queue (type, data, ts) VALUES ('OLD', '2', '1999-12-31 23:59:59.999999');
                INSERT INTO evt_queue (type, data, ts) VALUES ('RECENT', '3', now() - interval '4 months')
                """, on: pipeline.active)
            try await pipeline.run([.pusher, .archiver]) {
                try await eventually("the archive") { try await pipeline.archived() == 3 }
            }
            let names = try await partitions(pipeline.warehouse)
            #expect(names.contains(now) && names.contains(ahead))
            let places = try await TestDatabase.rows(
                "SELECT id, tableoid::regclass FROM evt_history ORDER BY id", on: pipeline.warehouse)
            #expect(places == [["1", now], ["2", "evt_history_default"], ["3", try await month(-4)]])
            #expect(try await pipeline.verify().summary == .init(verified: 3, wrong: 0))
        }
    }

    @Test func aPlainTableOfTheSeedIsUsedAsItIsAndItsRowsMadeExact() async throws {
        try await TestDatabase.with(.active) { active in
            try await TestDatabase.with(.empty) { warehouse in
                try await TestDatabase.execute(
                    """
                    CREATE TABLE evt_history (id bigint NOT NULL PRIMARY KEY, type varchar(16) NOT NULL, data json NOT NULL,
                        ts timestamp NOT NULL);
                    INSERT INTO evt_history VALUES (0, 'BEFORE', '1', '2020-01-01')
                    """, on: warehouse)
                try await TestDatabase.connected(to: warehouse) {
                    _ = try await Migrator.migrateWarehouse(.standard, on: $0)
                    _ = try await Migrator.grantWarehouse(.standard, on: $0)
                }
                try await ScratchDirectory.with { directory in
                    let pipeline = Pipeline(active: active, warehouse: warehouse, directory: directory)
                    try await pipeline.record("SEED", ["{\"a\": 1}", "2", "3"])
                    let ts = try await TestDatabase.rows("SELECT date_trunc('second', ts) FROM evt_queue ORDER BY id", on: active)
                    try await TestDatabase.execute(
                        "INSERT INTO evt_history VALUES (1, 'SEED', '{\"a\":1}', '\(ts[0][0]!)')", on: warehouse)
                    try await pipeline.run([.pusher, .archiver]) {
                        try await eventually("the archive") { try await pipeline.archived() == 4 }
                    }
                    let recorded = try await TestDatabase.rows("SELECT id, type, data, ts FROM evt_queue ORDER BY id", on: active)
                    let archived = try await TestDatabase.rows(
                        "SELECT id, type, data, ts FROM evt_history WHERE id > 0 ORDER BY id", on: warehouse)
                    #expect(archived == recorded)
                    #expect(
                        try await TestDatabase.rows("SELECT relkind FROM pg_class WHERE relname = 'evt_history'", on: warehouse)
                            == [["r"]])
                    #expect(
                        try await TestDatabase.number("SELECT evt_history_partitions('2026-01-01', '2026-03-01')", on: warehouse)
                            == 0)
                }
            }
        }
    }

    @Test func grantsAndOwnerOfAnEmptyTableAreKept() async throws {
        let role = "evt_role_\(UInt32.random(in: 0...UInt32.max))"
        try await TestDatabase.with(.empty) { warehouse in
            try await TestDatabase.execute(
                "CREATE ROLE \(role); CREATE ROLE \(role)_o; GRANT ALL ON SCHEMA public TO \(role)_o", on: warehouse)
            try await TestDatabase.execute(
                """
                CREATE TABLE evt_history (id bigint NOT NULL PRIMARY KEY, type varchar(16) NOT NULL, data json NOT NULL,
                    ts timestamp NOT NULL);
                ALTER TABLE evt_history OWNER TO \(role)_o;
                GRANT SELECT, INSERT ON evt_history TO \(role)
                """, on: warehouse)
            try await TestDatabase.connected(to: warehouse) { _ = try await Migrator.migrateWarehouse(.standard, on: $0) }
            let rows = try await TestDatabase.rows(
                """
                SELECT relkind, pg_get_userbyid(relowner), has_table_privilege('\(role)', oid, 'INSERT'),
                    has_table_privilege('\(role)', oid, 'SELECT'), has_table_privilege('\(role)', oid, 'DELETE')
                FROM pg_class WHERE relname = 'evt_history'
                """, on: warehouse)
            #expect(rows == [["p", "\(role)_o", "t", "t", "f"]])
            try await TestDatabase.execute(
                "DROP OWNED BY \(role), \(role)_o CASCADE; DROP ROLE \(role); DROP ROLE \(role)_o", on: warehouse)
        }
    }

    @Test func nobodyButTheOwnerMayMakePartitionsUnlessToldSo() async throws {
        try await TestDatabase.with(.warehouse) { warehouse in
            let open = try await TestDatabase.rows(
                "SELECT has_function_privilege('public', 'evt_history_partitions(date, date)', 'EXECUTE')", on: warehouse)
            #expect(open == [["f"]])
        }
    }
}
