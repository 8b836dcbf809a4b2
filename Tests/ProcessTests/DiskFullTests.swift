import EventStream
import EventStreamClient
import Foundation
import LibPQ
import TestSupport
import Testing

extension FaultTests {
    /// There is no room left on PostgreSQL's disk, and there is again.
    @Suite struct DiskFullTests {
        /// A few events fill a page.
        private static var load: WriterLoad {
            var load = WriterLoad(writers: 2, seed: 6, largest: 5, idle: 30)
            load.data = "to_json(repeat('room ', 300))"
            load.reconnects = true
            return load
        }

        @Test func recordingFailsWithAClearErrorWhileTheActiveDatabaseHasNoRoomAndNothingIsLost() async throws {
            try await ScratchDirectory.with { directory in
                try await PrivateCluster.with(faultsIn: directory) { cluster in
                    try await TestDatabase.with(.warehouse) { warehouse in
                        let deployment = Deployment(active: cluster.url, warehouse: warehouse, directory: directory)
                        try await deployment.migrate()
                        try await fillUp(cluster, deployment)
                    }
                }
            }
        }

        private func fillUp(_ cluster: PrivateCluster, _ deployment: Deployment) async throws {
            let processes = try deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            try await PersistentReceiver.following(deployment) { receiver in
                let generator = try await deployment.generator()
                var answered: [Int] = []
                try await Self.load.run(on: deployment.active) {
                    for round in 0..<2 {
                        try await deployment.goesOn(receiver, "in round \(round)")
                        try cluster.setFull(true)
                        for _ in 0..<20 {
                            // What still has a place is recorded.
                            let error = try await eventually("an error") { () -> String? in
                                do {
                                    let data = RawJSON(string: String(repeating: "room ", count: 1000))
                                    answered.append(Int(try await generator.addEvent("FULL", data).rawValue))
                                    return nil
                                } catch {
                                    return "\(error)"
                                }
                            }
                            #expect(error.contains("the event was not recorded") && error.contains("No space left"), "\(error)")
                        }
                        try cluster.setFull(false)
                        // Its connection may just have been lost.
                        answered.append(
                            try await eventually("room") {
                                do {
                                    return Int(try await generator.addEvent("ROOM", "1").rawValue)
                                } catch {
                                    guard "\(error)".contains("the event was not recorded") else { throw error }
                                    return nil
                                }
                            })
                        try await deployment.goesOn(receiver, "when there is room again")
                    }
                }
                let recorded = try await TestDatabase.rows(
                    "SELECT id FROM truth WHERE type IN ('FULL', 'ROOM') ORDER BY id", on: deployment.active)
                #expect(recorded.map { Int($0[0]!) } == answered)
            }
            try await deployment.checkArchive()
            processes.expectLog(lines: 60)
            try await processes.stop()
        }

        @Test func theActiveSideGoesOnWhileTheWarehouseHasNoRoomAndTheBacklogIsArchivedOnce() async throws {
            try await ScratchDirectory.with { directory in
                try await PrivateCluster.with(faultsIn: directory) { cluster in
                    try await TestDatabase.with(.active) { active in
                        let deployment = Deployment(active: active, warehouse: cluster.url, directory: directory)
                        try await deployment.migrate()
                        let processes = try deployment.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
                        try await PersistentReceiver.following(deployment) { receiver in
                            try await Self.load.run(on: active) {
                                try await eventually("the archive") { try await deployment.archived() > 0 }
                                try cluster.setFull(true)
                                let archiver = processes["evt-archiver"]!
                                try await eventually("a word about it") { archiver.output.contains("No space left") }
                                for round in 0..<20 {
                                    try await deployment.goesOn(receiver, "beside the full warehouse, \(round)")
                                }
                                let newest = try await deployment.newest()
                                #expect(try await deployment.position(of: "ARCHIVER") < newest)
                                try cluster.setFull(false)
                            }
                        }
                        try await deployment.checkArchive()
                        try await eventually("the discard") { try await deployment.backlog() == 0 }
                        #expect(try await deployment.evt("archive", "verify").text.contains(" 0 findings"))
                        processes.expectLog(lines: 40)
                        try await processes.stop()
                    }
                }
            }
        }
    }
}
