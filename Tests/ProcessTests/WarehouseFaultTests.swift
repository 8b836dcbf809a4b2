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
                            #expect(words.contains { said.contains($0) }, "\(alteration): \(said)")
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
