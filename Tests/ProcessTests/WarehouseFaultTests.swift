import CommandLineSupport
import Foundation
import Glibc
import TestSupport
import Testing

extension FaultTests {
    /// The warehouse is away for long, or its table was altered: the active side goes on, and the backlog is archived later.
    @Suite struct WarehouseFaultTests {
        @Test func whatWasRecordedWhileTheWarehouseWasAwayForLongIsArchivedAfterwards() async throws {
            try await PrivateCluster.with { warehouse in
                try await TestDatabase.with(.active) { active in
                    try await ScratchDirectory.with { directory in
                        let deployment = Deployment(active: active, warehouse: warehouse.url, directory: directory)
                        try await deployment.migrate()
                        let processes = try deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
                        try await PersistentReceiver.following(deployment) { receiver in
                            try await deployment.goesOn(receiver, "before")
                            try await eventually("the archive") { try await deployment.archived() >= 1 }
                            try await warehouse.kill()
                            for _ in 0..<10 {
                                try await TestDatabase.execute(
                                    "SELECT evt_add('AWAY', to_json(n)) FROM generate_series(1, 3000) n", on: active)
                                try await deployment.goesOn(receiver, "without the warehouse")
                            }
                            #expect(try await deployment.backlog() >= 30_000)
                            // An archiver that is started only now waits for it, too.
                            let waiting = try deployment.start("evt-archiver", [], ["EVT_ARCHIVER_COMPONENT": "LATE"])
                            try await eventually("a word about it") { waiting.output.contains("no warehouse; trying again") }
                            try await warehouse.start()
                            try await eventually("its work") { waiting.output.contains("archiving") }
                            #expect(try await waiting.terminate().status == 0)
                            _ = try await deployment.evtAsOwner("consumers", "remove", "LATE")
                        }
                        try await deployment.checkArchive()
                        try await eventually("the discard") { try await deployment.backlog() == 0 }
                        processes.expectLog(lines: 40)
                        try await processes.stop()
                    }
                }
            }
        }

        /// An archiver holds events of a generation that ends before the warehouse is back: it gives them up, and gets them again.
        @Test func whatWasHeldForAnAbsentWarehouseWhenAGenerationEndedIsArchivedAsTheNextOneHasIt() async throws {
            try await PrivateCluster.with { warehouse in
                try await TestDatabase.with(.active) { active in
                    try await ScratchDirectory.with { directory in
                        let deployment = Deployment(active: active, warehouse: warehouse.url, directory: directory)
                        try await deployment.migrate()
                        try await deployment.noteTruth()
                        let archiver = try deployment.start("evt-archiver")
                        let pusher = try deployment.start("evt-pusher")
                        try await deployment.record("BEFORE")
                        try await eventually("the archive") { try await deployment.archived() == 1 }
                        try await warehouse.kill()
                        try await deployment.record("HELD")
                        try await eventually("a batch that is held") { archiver.output.contains("not archived") }
                        pusher.signal(SIGKILL)
                        _ = try await pusher.ended()
                        #expect(try await deployment.evtAsOwner("generation", "--renew").status == 0)
                        let next = try deployment.start("evt-pusher")
                        try await eventually("a session") { next.output.contains("session started") }
                        try await warehouse.start()
                        try await deployment.checkArchive()
                        for process in [archiver, next] { #expect(try await process.terminate().status == 0) }
                    }
                }
            }
        }

        /// What refuses an event, and what is said of it. `%` is the partition that events go into.
        private static let refusals = [
            (
                "ALTER TABLE % ADD CONSTRAINT mine CHECK (data->>'n' <> '150')", "constraint or index mine",
                "Correct the constraint mine"
            ),
            ("CREATE UNIQUE INDEX mine ON % ((data->>'pair'))", "constraint or index mine", "Drop the index mine"),
            (
                """
                CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN IF NEW.data->>'n' = '150' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
                CREATE TRIGGER mine BEFORE INSERT ON % FOR EACH ROW EXECUTE FUNCTION mine()
                """, "not this one", "Correct the trigger"
            ),
        ]

        @Test(arguments: refusals)
        func anEventThatTheArchiveRefusesIsNamedWithWhatRefusesIt(_ refusal: (String, String, String)) async throws {
            try await Deployment.with { deployment in
                let pusher = try deployment.start("evt-pusher")
                var archiver = try deployment.start("evt-archiver")
                let first = try await deployment.record("FIRST")
                try await eventually("the archive") { try await deployment.archived() == 1 }
                #expect(try await archiver.terminate().status == 0)
                let partition = try await TestDatabase.rows(
                    "SELECT tableoid::regclass FROM evt_history", on: deployment.warehouse)[0][0]!
                try await TestDatabase.execute(refusal.0.replacing("%", with: partition), on: deployment.warehouse)
                // The pair of the 150th is the 50th.
                try await TestDatabase.execute(
                    """
                    SELECT evt_add('MANY', json_build_object('n', n::text, 'pair', CASE n WHEN 150 THEN 50 ELSE n END))
                    FROM generate_series(1, 200) n
                    """, on: deployment.active)
                archiver = try deployment.start("evt-archiver", [], ["EVT_METRICS_BIND": "127.0.0.1:0"])
                let surface = try await Surface(of: archiver)
                let words = ["refuses event \(first + 150) (MANY)", refusal.1, refusal.2]
                try await eventually("its name", within: .seconds(60)) {
                    let answer = try await surface.get("/readyz")
                    return answer.status == 503 && words.allSatisfy { answer.body.contains($0) && archiver.output.contains($0) }
                }
                #expect(archiver.output.components(separatedBy: words[0]).count == 2, "said once: \(archiver.output)")
                #expect(try await deployment.archived() == 1)
                try await TestDatabase.execute(
                    """
                    ALTER TABLE \(partition) DROP CONSTRAINT IF EXISTS mine; DROP INDEX IF EXISTS mine;
                    DROP FUNCTION IF EXISTS mine() CASCADE
                    """, on: deployment.warehouse)
                try await eventually("the archive", within: .seconds(60)) { try await deployment.archived() == 201 }
                for process in [archiver, pusher] { #expect(try await process.terminate().status == 0) }
            }
        }

        /// What is done to the table, what the archiver says about it, and how it is put right.
        private static let alterations = [
            ("ALTER TABLE evt_history RENAME TO elsewhere", ["evt_history"], "ALTER TABLE elsewhere RENAME TO evt_history"),
            (
                "ALTER TABLE evt_history RENAME COLUMN data TO gone", ["column \"data\"", "the column data is gone"],
                "ALTER TABLE evt_history RENAME COLUMN gone TO data"
            ),
            (
                "ALTER TABLE evt_history ALTER COLUMN id TYPE text", ["SQLSTATE 22", "the column id is text, not bigint"],
                "ALTER TABLE evt_history ALTER COLUMN id TYPE bigint USING id::bigint"
            ),
            (
                "ALTER TABLE evt_history ADD extra int NOT NULL DEFAULT 0; ALTER TABLE evt_history ALTER extra DROP DEFAULT",
                ["column \"extra\""], "ALTER TABLE evt_history DROP COLUMN extra"
            ),
            (
                "ALTER TABLE evt_history_positions RENAME TO elsewhere", ["evt_history_positions"],
                "ALTER TABLE elsewhere RENAME TO evt_history_positions"
            ),
        ]

        @Test func anArchiveWhoseTableWasAlteredSaysSoAndGoesOnWhenItIsPutRight() async throws {
            try await Deployment.with { deployment in
                let processes = try deployment.startRoles()
                try await PersistentReceiver.following(deployment) { receiver in
                    let archiver = processes["evt-archiver"]!
                    let load = WriterLoad(writers: 2, seed: 8, largest: 5, idle: 30)
                    try await load.run(on: deployment.active) {
                        for (alteration, words, remedy) in Self.alterations {
                            let archived = try await deployment.archived()
                            try await eventually("events in the archive") { try await deployment.archived() > archived }
                            let before = archiver.output.count
                            try await TestDatabase.execute(alteration, on: deployment.warehouse)
                            let said = try await eventually("a word about: \(alteration)") {
                                archiver.output.dropFirst(before).split(separator: "\n").first { $0.contains(" ERROR ") }
                            }
                            // Quotes are escaped in a log.
                            let plain = said.replacing("\\\"", with: "\"")
                            #expect(words.contains { plain.contains($0) }, "\(alteration): \(said)")
                            for _ in 0..<5 { try await deployment.goesOn(receiver, "beside the archive") }
                            try await TestDatabase.execute(remedy, on: deployment.warehouse)
                        }
                    }
                }
                try await deployment.checkArchive()
                try await eventually("the discard") { try await deployment.backlog() == 0 }
                processes.expectLog(lines: 60)
                try await processes.stop()
            }
        }
    }
}
