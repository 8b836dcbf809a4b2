import EventStream
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamServer
import LibPQ
import TestSupport
import Testing

/// The ring of segments, and how confirmed events leave it.
@Suite(.serialized) struct DiscardTests {
    private let segment = 1 << 17

    /// So many events, beginning with this id.
    private func record(_ count: Int, from id: Int, _ pipeline: Pipeline) async throws {
        _ = try await TestDatabase.number("SELECT setval('evt_queue_id_seq', \(id), false)", on: pipeline.active)
        try await pipeline.record("RING", (0..<count).map { "\($0)" })
    }

    private func confirm(_ id: Int, by consumer: String = "RING", _ pipeline: Pipeline) async throws {
        try await TestDatabase.execute(
            """
            INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:\(consumer)', \(id))
            ON CONFLICT (ident) DO UPDATE SET last_evt_id = \(id)
            """, on: pipeline.active)
    }

    private func ids(_ pipeline: Pipeline) async throws -> [Int] {
        try await TestDatabase.rows("SELECT id FROM evt_queue ORDER BY id", on: pipeline.active).map { Int($0[0]!)! }
    }

    /// Where the table's file is: a segment that was emptied whole has a new one.
    private func file(_ segment: Int, _ pipeline: Pipeline) async throws -> String {
        try await TestDatabase.rows("SELECT pg_relation_filenode('evt_queue_\(segment)')", on: pipeline.active)[0][0]!
    }

    /// Transactions given up, as one is that found a segment in use.
    private func rolledBack(_ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number(
            "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()", on: pipeline.active)
    }

    @Test func aSegmentThatIsCompleteIsEmptiedWhole() async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(50, from: 1000, pipeline)
            try await record(50, from: segment + 1000, pipeline)
            try await confirm(segment + 1009, pipeline)
            let (before, next) = (try await file(0, pipeline), try await file(1, pipeline))
            try await pipeline.run([.discarder], discarder: { $0.pollPeriod = .seconds(600) }) {
                // At once, whatever the period is.
                try await eventually("an empty segment") { try await file(0, pipeline) != before }
            }
            #expect(try await ids(pipeline).filter { $0 < segment } == [])
            #expect(try await file(1, pipeline) == next)
            #expect(try await ids(pipeline).suffix(40) == Array((segment + 1010)..<(segment + 1050)))
        }
    }

    @Test func aSegmentSharedWithUnconfirmedEventsOfTheNextRoundLosesRowsOnly() async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(50, from: 1000, pipeline)
            try await record(50, from: 8 * segment + 1000, pipeline)
            try await record(50, from: 9 * segment + 1000, pipeline)
            try await confirm(8 * segment + 1019, pipeline)
            let before = try await file(0, pipeline)
            try await pipeline.run([.discarder], discarder: { $0.limitAtOnce = 7 }) {
                try await eventually("the discard") { try await pipeline.backlog() == 80 }
            }
            #expect(try await ids(pipeline).prefix(30) == Array((8 * segment + 1020)..<(8 * segment + 1050))[...])
            #expect(try await file(0, pipeline) == before)
            try await confirm(9 * segment + 1050, pipeline)
            try await pipeline.run([.discarder]) {
                try await eventually("the rest") { try await pipeline.backlog() == 0 }
            }
        }
    }

    @Test func aReaderOfTheTableIsWaitedForAndWritersAreNot() async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(50, from: 1000, pipeline)
            try await record(50, from: segment + 1000, pipeline)
            try await confirm(segment + 1049, pipeline)
            let before = try await rolledBack(pipeline)
            try await TestDatabase.connected(to: pipeline.active) { reader in
                // As a dump does: it will want to see all of it to its end.
                try await reader.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
                #expect(try await reader.query("SELECT count(*) FROM evt_queue").int(0, 0) == 100)
                try await pipeline.run([.discarder]) {
                    try await eventually("an attempt") { try await rolledBack(pipeline) > before }
                    for _ in 0..<20 { try await pipeline.record("RING") }
                    #expect(try await reader.query("SELECT count(*) FROM evt_queue").int(0, 0) == 100)
                    #expect(try await TestDatabase.number("SELECT count(*) FROM evt_queue_0", on: pipeline.active) == 50)
                    try await reader.query("COMMIT")
                    try await eventually("an empty segment") {
                        try await TestDatabase.number("SELECT count(*) FROM evt_queue_0", on: pipeline.active) == 0
                    }
                }
            }
        }
    }

    @Test func withoutTheRightToEmptyTablesRowsAreDeleted() async throws {
        let role = "evt_discarder_\(UInt32.random(in: 0...UInt32.max))"
        try await Pipeline.with([]) { pipeline in
            try await record(50, from: 1000, pipeline)
            try await record(50, from: segment + 1000, pipeline)
            try await confirm(segment + 1050, pipeline)
            let leaves = (0..<8).map { "evt_queue_\($0)" }.joined(separator: ", ")
            try await TestDatabase.execute(
                """
                CREATE ROLE \(role) LOGIN;
                GRANT SELECT ON evt_queue, evt_consumers, evt_queue_migrations TO \(role);
                GRANT SELECT, UPDATE ON evt_queue_state TO \(role);
                GRANT SELECT, DELETE ON \(leaves) TO \(role)
                """, on: pipeline.active)
            let before = try await file(0, pipeline)
            let url = pipeline.active.replacing("user=postgres", with: "user=\(role)")
            #expect(url != pipeline.active)
            try await pipeline.run([.discarder], discarder: { $0.database.url = url }) {
                try await eventually("the discard") { try await pipeline.backlog() == 0 }
            }
            #expect(try await file(0, pipeline) == before)
            try await TestDatabase.execute("DROP OWNED BY \(role); DROP ROLE \(role)", on: pipeline.active)
        }
    }

    /// How many wait for an advisory lock.
    private func waiting(_ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number(
            """
            SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """, on: pipeline.active)
    }

    @Test func nothingIsDiscardedWhileAConsumerRegisters() async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(50, from: 1000, pipeline)
            try await confirm(1049, pipeline)
            try await TestDatabase.connected(to: pipeline.active) { connection in
                try await connection.query("BEGIN")
                try await connection.query("INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:NEW', 1010)")
                try await pipeline.run([.discarder]) {
                    try await eventually("a discarder that waits") {
                        try await waiting(pipeline) > 0
                    }
                    #expect(try await pipeline.backlog() == 50)
                    try await connection.query("COMMIT")
                    try await eventually("the discard") { try await pipeline.backlog() == 39 }
                }
            }
            #expect(try await ids(pipeline) == Array(1011...1049))
        }
    }

    @Test func aPositionIsNotSetBackBeforeWhatIsGoneMeanwhile() async throws {
        try await Pipeline.with([]) { pipeline in
            try await record(50, from: 1, pipeline)
            try await confirm(50, pipeline)
            try await TestDatabase.connected(to: pipeline.active) { discarder in
                let info = try await StreamInfo.load(.standard, from: discarder)
                // The discarder has decided.
                try await discarder.query("BEGIN")
                try await discarder.query("SELECT pg_advisory_xact_lock($1::bigint)", [.int8(info.key(of: .discard))])
                try await discarder.query("DELETE FROM evt_queue_0 WHERE id <= 50")
                try await discarder.query("UPDATE evt_queue_state SET discarded = 50, settled = 50")
                async let setting = TestDatabase.connected(to: pipeline.active) { connection in
                    try await ConsumerAdmin(info).set("local:RING", to: .after(EventID(5)), on: connection)
                }
                try await eventually("somebody who waits") {
                    try await waiting(pipeline) > 0
                }
                try await discarder.query("COMMIT")
                var refusal = ""
                do { _ = try await setting } catch { refusal = "\(error)" }
                #expect(refusal.contains("events up to 50 are discarded"), "\(refusal)")
                #expect(try await pipeline.position(of: "RING") == 50)
            }
        }
    }

    @Test func nothingIsLostWhileTheRingComesRoundUnderLoad() async throws {
        try await Pipeline.with([]) { pipeline in
            // About 65 ids a segment: the ring comes round every few hundred events.
            try await TestDatabase.execute("ALTER SEQUENCE evt_queue_id_seq INCREMENT BY 2000", on: pipeline.active)
            try await TestDatabase.execute(
                """
                CREATE TABLE truth (id bigint PRIMARY KEY, type text, data text, ts timestamp);
                CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
                BEGIN
                    INSERT INTO public.truth VALUES (NEW.id, NEW.type, NEW.data::text, NEW.ts);
                    RETURN NULL;
                END $$;
                CREATE TRIGGER note AFTER INSERT ON evt_queue FOR EACH ROW EXECUTE FUNCTION note()
                """, on: pipeline.active)
            let seed = SplitMix.seedOfRun()
            let load = WriterLoad(writers: 4, seed: seed, idle: 8)
            try await pipeline.run(
                [.pusher, .archiver, .discarder],
                discarder: {
                    $0.required = [pipeline.required()]
                    $0.limitAtOnce = 10
                }
            ) {
                try await load.run(on: pipeline.active) {
                    for round in 1...6 {
                        // Now and then somebody reads the table for a while.
                        try await TestDatabase.connected(to: pipeline.active) { reader in
                            try await reader.query("BEGIN")
                            try await reader.query("SELECT count(*) FROM evt_queue")
                            try await eventually("events, round \(round)") { try await pipeline.archived() >= round * 500 }
                            try await reader.query("COMMIT")
                        }
                    }
                }
                try await eventually("the end") { try await pipeline.backlog() == 0 }
            }
            let truth = try await TestDatabase.rows("SELECT id, type, data, ts FROM truth ORDER BY id", on: pipeline.active)
            let archived = try await TestDatabase.rows(
                "SELECT id, type, data::text, ts FROM evt_history ORDER BY id", on: pipeline.warehouse)
            #expect(truth.count == archived.count, "EVT_SIMULATION_SEED=\(seed)")
            #expect(zip(truth, archived).first { $0 != $1 } == nil, "EVT_SIMULATION_SEED=\(seed)")
            let (findings, summary) = try await pipeline.verify()
            #expect(findings.isEmpty && summary.verified == truth.count)
        }
    }
}
