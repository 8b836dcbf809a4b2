import EventStream
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// The schema: made, made again, and put over an existing futoin-eventstream database.
@Suite(.serialized) struct MigrationTests {
    /// Word for word what the seed's sql/active/postgresql and sql/dwh/postgresql make.
    private static let seedActive = """
        CREATE TABLE evt_queue (id bigserial NOT NULL PRIMARY KEY, type VARCHAR(16) NOT NULL, data JSON NOT NULL, ts TIMESTAMP NOT NULL);
        COMMENT ON COLUMN evt_queue.type IS 'Convert to enum for efficiency';
        COMMENT ON TABLE evt_queue IS 'Main high load table';
        CREATE TABLE evt_consumers (id serial2 NOT NULL PRIMARY KEY, last_evt_id BIGINT NOT NULL DEFAULT 0,
            reg_time TIMESTAMP NOT NULL, last_time TIMESTAMP NOT NULL, ident VARCHAR(64) NOT NULL UNIQUE);
        COMMENT ON TABLE evt_consumers IS 'Event Consumers & last delivered event pointers';
        CREATE INDEX evt_consumers_last_evt_id ON evt_consumers USING BTREE (last_evt_id);
        """
    private static let seedWarehouse = """
        CREATE TABLE evt_history (id BIGINT NOT NULL PRIMARY KEY, type VARCHAR(16) NOT NULL, data JSON NOT NULL, ts TIMESTAMP NOT NULL);
        COMMENT ON COLUMN evt_history.type IS 'Convert to enum for efficiency';
        COMMENT ON TABLE evt_history IS 'Prototype for all time history table';
        """

    @Test func migratingAgainDoesNothing() async throws {
        try await TestDatabase.with(.active) { url in
            let applied = try await TestDatabase.connected(to: url) { try await Migrator.migrateActive(.standard, on: $0).count }
            #expect(applied == 0)
        }
    }

    @Test func severalMayMigrateAtOnce() async throws {
        try await TestDatabase.with(.empty) { url in
            let applied = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<5 {
                    group.addTask {
                        try await TestDatabase.connected(to: url) { try await Migrator.migrateActive(.standard, on: $0).count }
                    }
                }
                return try await group.reduce(0, +)
            }
            let steps = try await TestDatabase.number("SELECT count(*) FROM evt_queue_migrations", on: url)
            #expect(applied == steps && steps > 0)
        }
    }

    @Test func anExistingDatabaseIsAdoptedWithItsRowsPositionsAndRights() async throws {
        try await TestDatabase.with(.empty) { url in
            try await TestDatabase.with(.empty) { warehouse in
                let role = "evt_writer_\(UInt32.random(in: 0...UInt32.max))"
                try await TestDatabase.execute(Self.seedActive, on: url)
                try await TestDatabase.execute(Self.seedWarehouse, on: warehouse)
                try await TestDatabase.execute(
                    """
                    INSERT INTO evt_queue (type, data, ts) SELECT 'OLD', to_json(n), '2020-01-01 00:00:00.5' FROM generate_series(1, 300000) n;
                    DELETE FROM evt_queue WHERE id <= 100000;
                    INSERT INTO evt_consumers (last_evt_id, reg_time, last_time, ident)
                        VALUES (100010, now(), now(), 'system:ARCHIVER'), (299999, now(), now(), 'system:APP');
                    CREATE ROLE \(role); GRANT INSERT, SELECT ON evt_queue TO \(role);
                    GRANT USAGE ON SEQUENCE evt_queue_id_seq TO \(role);
                    """, on: url)
                try await TestDatabase.execute("INSERT INTO evt_history VALUES (1, 'OLD', '1', '2020-01-01')", on: warehouse)
                _ = try await TestDatabase.connected(to: url) { try await Migrator.migrateActive(.standard, on: $0).count }
                _ = try await TestDatabase.connected(to: warehouse) {
                    try await Migrator.migrateWarehouse(.standard, on: $0).count
                }

                let kept = try await TestDatabase.rows("SELECT count(*), min(id), max(id), min(ts) FROM evt_queue", on: url)
                #expect(kept == [["200000", "100001", "300000", "2020-01-01 00:00:00.5"]])
                let positions = try await TestDatabase.rows("SELECT ident, last_evt_id FROM evt_consumers ORDER BY 2", on: url)
                #expect(positions == [["system:ARCHIVER", "100010"], ["system:APP", "299999"]])
                #expect(try await TestDatabase.number("SELECT count(*) FROM evt_history", on: warehouse) == 1)
                // Old writers go on as before, new ones use the function, and ids go on.
                let next = try await TestDatabase.number(
                    "SET ROLE \(role); INSERT INTO evt_queue (type, data, ts) VALUES ('NEW', '{}', now()) RETURNING id".split(
                        separator: ";"
                    ).last.map(String.init)!,
                    on: url)
                #expect(next == 300_001)
                try await TestDatabase.execute(
                    "SET ROLE \(role); INSERT INTO evt_queue (type, data, ts) VALUES ('NEW', '{}', now())", on: url)
                #expect(try await TestDatabase.number("SELECT evt_add('NEW', '1')", on: url) == 300_003)
                try await TestDatabase.execute("DROP OWNED BY \(role); DROP ROLE \(role)", on: url)
            }
        }
    }

    @Test(arguments: [true, false])
    func registrationsDoNotEndWhereASmallNumberDoes(isAdopted: Bool) async throws {
        try await TestDatabase.with(.empty) { url in
            if isAdopted { try await TestDatabase.execute(Self.seedActive, on: url) }
            _ = try await TestDatabase.connected(to: url) { try await Migrator.migrateActive(.standard, on: $0).count }
            for (last, name) in [(32_766, "A"), (Int(Int32.max), "B")] {
                try await TestDatabase.execute(
                    """
                    SELECT setval(pg_get_serial_sequence('evt_consumers', 'id'), \(last));
                    INSERT INTO evt_consumers (ident, reg_time, last_time) SELECT 'local:\(name)' || n, now(), now()
                    FROM generate_series(1, 3) n
                    """, on: url)
                #expect(try await TestDatabase.number("SELECT max(id) FROM evt_consumers", on: url) == last + 3)
            }
        }
    }

    @Test func anotherOwnersDatabaseIsAdoptedAndStaysHis() async throws {
        try await TestDatabase.with(.empty) { url in
            let owner = "evt_owner_\(UInt32.random(in: 0...UInt32.max))"
            try await TestDatabase.execute("CREATE ROLE \(owner); GRANT ALL ON SCHEMA public TO \(owner)", on: url)
            try await TestDatabase.execute("SET ROLE \(owner); \(Self.seedActive)", on: url)
            _ = try await TestDatabase.connected(to: url) { try await Migrator.migrateActive(.standard, on: $0).count }
            try await TestDatabase.execute(
                "SET ROLE \(owner); INSERT INTO evt_queue (type, data, ts) VALUES ('MINE', '{}', now())", on: url)
            let count = try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: url)
            #expect(count == 1)
            // Who records an event lends his own trigger no rights of whoever migrated.
            try await TestDatabase.execute(
                """
                SET ROLE \(owner);
                CREATE TABLE worker (name text); GRANT ALL ON worker TO PUBLIC;
                CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    INSERT INTO public.worker VALUES (current_user);
                    RETURN NULL;
                END $$;
                CREATE TRIGGER mine AFTER INSERT ON evt_queue FOR EACH STATEMENT EXECUTE FUNCTION note();
                RESET ROLE; SELECT evt_add('MINE', '1');
                """, on: url)
            #expect(try await TestDatabase.rows("SELECT name FROM worker", on: url) == [[owner]])
            try await TestDatabase.execute("DROP OWNED BY \(owner) CASCADE; DROP ROLE \(owner)", on: url)
        }
    }

    @Test func rowsThatCannotTravelAreNamedAndNothingIsChanged() async throws {
        try await TestDatabase.with(.empty) { url in
            try await TestDatabase.execute(Self.seedActive, on: url)
            try await TestDatabase.execute("INSERT INTO evt_queue (type, data, ts) VALUES ('lower', '1', now())", on: url)
            let error = await #expect(throws: PostgresError.self) {
                _ = try await TestDatabase.connected(to: url) { try await Migrator.migrateActive(.standard, on: $0).count }
            }
            #expect(error?.message.contains("{1}") == true)
            #expect(try await TestDatabase.rows("SELECT relkind FROM pg_class WHERE relname = 'evt_queue'", on: url) == [["r"]])
        }
    }

    @Test func oneDatabaseHoldsSeveralStreams() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute("CREATE SCHEMA \"odd \"\"name\"", on: url)
            let tables = StreamTables(
                events: TableName(schema: "odd \"name", name: "Ev'ents"), consumers: TableName(schema: "odd \"name", name: "who"))
            _ = try await TestDatabase.connected(to: url) { try await Migrator.migrateActive(tables, on: $0).count }
            let id = try await TestDatabase.number("SELECT \(tables.add.sql)('OTHER', '1')", on: url)
            #expect(id == 1)
            #expect(try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: url) == 0)
            #expect(try await TestDatabase.number("SELECT count(*) FROM \(tables.events.sql)", on: url) == 1)
        }
    }

    @Test func thePrintedSchemaIsTheOneThatIsApplied() async throws {
        try await TestDatabase.with(.empty) { url in
            let tables = StreamTables(
                events: TableName(schema: "public", name: "evt_queue"),
                consumers: TableName(schema: "public", name: "evt_consumers"))
            try await TestDatabase.execute(Migrator.script(tables.schema), on: url)
            let applied = try await TestDatabase.connected(to: url) { try await Migrator.migrateActive(.standard, on: $0).count }
            #expect(applied == 0)
            #expect(try await TestDatabase.number("SELECT evt_add('PRINTED', '1')", on: url) == 1)
        }
    }

    // MARK: Steps to come

    /// The schema of the standard tables as it is after a step that is not there yet.
    private static func schema(with step: String) -> Schema {
        var schema = StreamTables(
            events: TableName(schema: "public", name: "evt_queue"), consumers: TableName(schema: "public", name: "evt_consumers")
        ).schema
        schema.steps.append(Migration(number: schema.steps.count + 1, name: "later", sql: step))
        return schema
    }

    @Test func processesGoOnWhileAStepIsAppliedAndANewerSchemaIsRefused() async throws {
        try await Pipeline.with([.generator, .pusher, .archiver]) { pipeline in
            try await pipeline.record("BEFORE")
            try await eventually("the archive") { try await pipeline.archived() == 1 }
            let schema = Self.schema(with: "ALTER TABLE evt_queue_state ADD COLUMN later bigint NOT NULL DEFAULT 0")
            for expected in [["later"], []] {
                let applied = try await TestDatabase.connected(to: pipeline.active) {
                    try await Migrator.migrate(schema, on: $0).map(\.name)
                }
                #expect(applied == expected)
            }
            try await pipeline.record("AFTER")
            try await eventually("the archive") { try await pipeline.archived() == 2 }
            let error = await #expect(throws: StoreError.self) {
                _ = try await TestDatabase.connected(to: pipeline.active) { try await StreamInfo.load(.standard, from: $0) }
            }
            #expect(
                error?.message.contains(
                    "is at step \(schema.steps.count), this program knows \(schema.steps.count - 1): install the program that made it"
                ) == true)
        }
    }

    @Test func aStepThatFailsLeavesNothing() async throws {
        try await TestDatabase.with(.active) { url in
            let schema = Self.schema(with: "CREATE TABLE later (); SELECT 1 / 0")
            await #expect(throws: PostgresError.self) {
                _ = try await TestDatabase.connected(to: url) {
                    try await Migrator.migrate(schema, on: $0)
                }
            }
            #expect(try await TestDatabase.rows("SELECT to_regclass('later')", on: url) == [[nil]])
            #expect(
                try await TestDatabase.number("SELECT max(number) FROM evt_queue_migrations", on: url) == schema.steps.count - 1)
            let applied = try await TestDatabase.connected(to: url) {
                try await Migrator.migrate(Self.schema(with: "CREATE TABLE later ()"), on: $0).map(\.number)
            }
            #expect(applied == [schema.steps.count])
        }
    }

    @Test func anOlderSchemaIsRefused() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute("DELETE FROM evt_queue_migrations", on: url)
            let error = await #expect(throws: StoreError.self) {
                _ = try await TestDatabase.connected(to: url) { try await StreamInfo.load(.standard, from: $0) }
            }
            let newest = Self.schema(with: "").steps.count - 1
            #expect(error?.message.contains("is at step 0, this program needs \(newest): run `evt migrate`") == true)
        }
    }

    /// Whoever owns a function can change what it does for those who call it.
    @Test(arguments: [
        (false, "evt_queue_wake() RETURNS trigger"), (false, "evt_add(type text, data json) RETURNS bigint"),
        (true, "evt_history_partitions(first date, last date) RETURNS integer"),
    ])
    func aFunctionOfAnotherRoleIsNotTaken(isWarehouse: Bool, function: String) async throws {
        try await TestDatabase.with(.empty) { url in
            let role = "evt_stranger_\(UInt32.random(in: 0...UInt32.max))"
            try await TestDatabase.execute(
                """
                CREATE ROLE \(role); GRANT CREATE ON SCHEMA public TO \(role); SET ROLE \(role);
                CREATE FUNCTION \(function) LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
                """, on: url)
            let error = await #expect(throws: PostgresError.self) {
                _ = try await TestDatabase.connected(to: url) { connection in
                    _ =
                        isWarehouse
                        ? try await Migrator.migrateWarehouse(.standard, on: connection)
                        : try await Migrator.migrateActive(.standard, on: connection)
                }
            }
            #expect(error?.message.contains("is already there and belongs to the role \(role)") == true, "\(error as Any)")
            let tables = "SELECT to_regclass('evt_queue'), to_regclass('evt_history')"
            #expect(try await TestDatabase.rows(tables, on: url) == [[nil, nil]])
            try await TestDatabase.execute("DROP OWNED BY \(role); DROP ROLE \(role)", on: url)
        }
    }
}
