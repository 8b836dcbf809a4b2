import EventStream
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// Histories that are not partitioned by month.
extension ExpiryTests {
    @Test func `rows of a plain table go in batches, each as good as the whole`() async throws {
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
                try await TestDatabase.execute("DELETE FROM evt_history", on: warehouse)
                try await ScratchDirectory.with { directory in
                    let pipeline = Pipeline(active: active, warehouse: warehouse, directory: directory)
                    try await recordMonths(pipeline)
                    try await archive(pipeline)
                    try await discard(pipeline)
                    let limit = HistoryExpiry.Limit.before(try await time(3))
                    // The third batch fails.
                    try await TestDatabase.execute(
                        """
                        CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stop'; END $$;
                        CREATE TRIGGER stop BEFORE DELETE ON evt_history FOR EACH ROW WHEN (OLD.id = 17) EXECUTE FUNCTION stop()
                        """, on: warehouse)
                    await #expect(throws: PostgresError.self) { try await expire(pipeline, limit) }
                    #expect(try await pipeline.archived() == 86)
                    #expect(try await completeFrom(pipeline) == 14)
                    #expect(try await pipeline.verify().findings == [])
                    #expect(try await pipeline.verify().summary.verified == 86)
                    try await TestDatabase.execute("DROP TRIGGER stop ON evt_history", on: warehouse)
                    try await expire(pipeline, limit)
                    #expect(try await pipeline.archived() == 40)
                    #expect(try await completeFrom(pipeline) == 60)
                    let (findings, summary) = try await pipeline.verify()
                    #expect(findings == [] && summary.verified == 40)
                    #expect(
                        try await TestDatabase.rows(
                            "SELECT events, first_id, last_id FROM evt_history_expired ORDER BY number", on: warehouse)
                            == [["14", "1", "14"], ["16", "15", "30"], ["30", "31", "60"]])
                }
            }
        }
    }
}
