import EventStream
import EventStreamClient
import Foundation
import LibPQ
import TestSupport
import Testing

/// The active database's server fails over to a standby, or is put back to an earlier state.
@Suite(.serialized) struct FailOverTests {
    @Test func whatALaggingStandbyLacksIsReportedAndNothingLaterIsSkipped() async throws {
        try await withPipeline(standby: true) { world in
            try await world.recordAndAwait("KEPT")
            try await world.standbyHasAll()
            try await world.standby.stopFollowing()
            var lost: [String] = []
            for _ in 0..<5 { lost.append("\(try await world.recordAndAwait("LOST"))") }
            try await world.primary.kill()
            try await world.standby.promote()
            try await world.recordAndAwait("AFTER")
            try await world.expectTheStreamOfTheDatabase()
            #expect(try await world.lost() == lost)
            #expect(await world.log("evt-pusher").contains("the active database went back"))
            #expect(await world.log("evt-archiver").contains("not in the active database any more; they were set aside"))
            #expect(try await world.deployment.evt("status").text.contains("failed over, or restored"))
        }
    }

    @Test func nothingIsSkippedThatGetsTheIdOfALostEvent() async throws {
        try await withPipeline(standby: true) { world in
            // Registered before the standby stops: what is reused must not be discarded before the poll.
            _ = try await world.poll(after: nil)
            try await world.recordAndAwait("KEPT")
            try await world.standbyHasAll()
            try await world.standby.stopFollowing()
            // A sequence is ahead by 32 in the log.
            var lost: [Int] = []
            for _ in 0..<50 { lost.append(try await world.record("LOST", on: world.primary.url)) }
            lost.append(try await world.recordAndAwait("LOST"))
            var polled = try await world.poll(after: nil)
            #expect(polled.last == lost.last)
            await world.signal("evt-pusher", SIGSTOP)
            try await world.primary.kill()
            try await world.standby.promote()
            let reused = try await world.record("REUSED", on: world.standby.url)
            #expect(lost.contains(reused))
            await world.signal("evt-pusher", SIGCONT)
            try await eventually("the pusher's notice") { await world.log("evt-pusher").contains("went back") }
            let last = try await world.recordAndAwait("AFTER")
            #expect(last > reused + 1_000_000, "ids go on far beyond those that were lost")
            // A poller that confirms what was lost has not confirmed what has its ids now.
            polled = try await world.poll(after: polled.last)
            #expect(polled.contains(reused) && polled.last == last)
            #expect(try await world.poll(after: last) == [])
            try await world.expectTheStreamOfTheDatabase()
            #expect(try await world.lost() == lost.map { "\($0)" })
        }
    }

    @Test func anOlderDumpOfTheActiveDatabaseIsNoticed() async throws {
        try await withPipeline(standby: false) { world in
            for _ in 0..<5 { try await world.recordAndAwait("KEPT") }
            let dump = try await world.dump(world.deployment.active)
            let lost = [try await world.recordAndAwait("LOST"), try await world.recordAndAwait("LOST")]
            try await world.restore(dump, into: world.deployment.active)
            try await world.record("REUSED", on: world.deployment.active)
            try await eventually("the question what this is") {
                await world.log("evt-pusher").contains("this may be a copy of the stream's database")
            }
            #expect(try await world.deployment.evtAsOwner("generation", "--renew").status == 0)
            try await world.recordAndAwait("AFTER")
            try await world.expectTheStreamOfTheDatabase()
            #expect(try await world.lost() == lost.map { "\($0)" })
            #expect(await world.log("evt-pusher").contains("a new generation of the stream has begun"))
        }
    }

    @Test func anOlderDumpOfTheWarehouseIsMadeUpFor() async throws {
        try await withPipeline(standby: false, discards: false) { world in
            try await world.recordAndAwait("KEPT")
            let dump = try await world.dump(world.deployment.warehouse)
            for _ in 0..<3 { try await world.recordAndAwait("LOST") }
            try await world.restore(dump, into: world.deployment.warehouse)
            try await world.recordAndAwait("AFTER")
            try await world.expectTheStreamOfTheDatabase()
            #expect(await world.log("evt-archiver").contains("the warehouse is behind what was confirmed for it"))
        }
    }

    private func withPipeline(standby hasStandby: Bool, discards: Bool = true, _ body: (FailOverWorld) async throws -> Void)
        async throws
    {
        try await ScratchDirectory.with { directory in
            func run(_ primary: PrivateCluster, _ standby: PrivateCluster, _ active: String, _ warehouse: String) async throws {
                let deployment = Deployment(active: active, warehouse: warehouse, directory: directory)
                let world = FailOverWorld(deployment, primary: primary, standby: standby, discards: discards)
                do {
                    try await world.start()
                    try await world.receiving { try await body(world) }
                    try await world.stop()
                } catch {
                    Issue.record(error, "\(await world.logs)")
                }
            }
            if hasStandby {
                try await TestDatabase.with(.warehouse) { warehouse in
                    try await PrivateCluster.withStandby { primary, standby in
                        try await run(primary, standby, PrivateCluster.url(of: primary, standby), warehouse)
                    }
                }
            } else {
                try await PrivateCluster.with { cluster in
                    for name in ["app", "history"] { try await TestDatabase.execute("CREATE DATABASE \(name)", on: cluster.url) }
                    try await run(cluster, cluster, cluster.url(of: "app"), cluster.url(of: "history"))
                }
            }
        }
    }
}
