import CommandLineSupport
import Foundation
import TestSupport
import Testing

/// A stream has one home: what a copy of its database may do, and what an archiver at work may expect.
@Suite(.serialized) struct StreamHomeTests {
    /// `createdb -T app app_staging`, with every process of the copy pointed at the first stream's warehouse.
    @Test func aCopyOfTheDatabaseIsRefusedUntilAPersonSaysWhatItIs() async throws {
        try await Deployment.with { production in
            try await production.noteTruth()
            let processes = try production.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            for number in 1...3 { try await production.record("FIRST", "\(number)") }
            try await eventually("the archive") { try await production.archived() == 3 }
            try await eventually("the discard") { try await production.backlog() == 0 }
            // Nobody may be connected to a template.
            try await processes.stop()
            try await production.withCopy { copy in
                let running = try production.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
                let copied = try copy.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
                for name in ["evt-pusher", "evt-discarder"] {
                    try await eventually("a refusal of \(name)") {
                        copied[name]!.output.contains("this may be a copy of the stream's database")
                    }
                }
                let doctor = try await copy.evt("doctor")
                for words in ["critical place", "evt generation --renew", "evt generation --fork"] {
                    #expect(doctor.status == 2 && doctor.text.contains(words), "\(doctor.text)")
                }
                try await copy.record("STAGING")
                for number in 4...6 { try await production.record("FIRST", "\(number)") }
                try await production.checkArchive()
                try await eventually("the discard") { try await production.backlog() == 0 }
                #expect(try await copy.backlog() == 1)

                // It is a copy: what it records goes to nobody's archive but its own.
                let forked = try await copy.evtAsOwner("generation", "--fork")
                #expect(forked.status == 0, "\(forked.text)")
                try await eventually("its pusher") { copied["evt-pusher"]!.output.contains("following the stream") }
                try await copy.record("STAGING")
                try await eventually("the wait for the archive", within: .seconds(60)) {
                    copied["evt-archiver"]!.output.contains("another archiver of this name, local:ARCHIVER, is at work")
                }
                try await production.record("FIRST", "7")
                try await production.checkArchive()
                try await running.stop()
                // Nobody is at work any more, and the archive is another stream's still.
                try await eventually("the refusal of the archive", within: .seconds(60)) {
                    copied["evt-archiver"]!.output.contains("ArchiveUnknown")
                }
                #expect(try await copy.backlog() == 2)
                try await production.checkArchive()
                try await copied.stop()
            }
        }
    }

    /// A dump of yesterday, restored beside the first stream; somebody takes it for the stream's home.
    @Test func aCopyThatIsCalledTheHomeByMistakeWaitsWhileTheFirstArchiverIsAtWork() async throws {
        try await Deployment.with { production in
            try await production.noteTruth()
            let first = try production.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            try await production.record("YESTERDAY")
            try await eventually("the discard") { try await production.discarded() }
            try await first.stop()
            try await production.withCopy { copy in
                let running = try production.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
                for _ in 0..<20 { try await production.record("TODAY") }
                try await eventually("the discard") { try await production.discarded() }
                #expect(try await copy.evtAsOwner("generation", "--renew").status == 0)
                let pusher = try copy.start("evt-pusher")
                let archiver = try copy.start("evt-archiver", [], ["EVT_METRICS_BIND": "127.0.0.1:0"])
                try await copy.record("RESTORED")
                let surface = try await Surface(of: archiver)
                let words = "another archiver of this name, local:ARCHIVER, is at work in the warehouse (pid "
                try await eventually("the wait for the archive", within: .seconds(60)) {
                    let answer = try await surface.get("/readyz")
                    return answer.status == 503 && answer.body.contains(words) && archiver.output.contains(words)
                }
                try await production.record("TODAY")
                try await production.checkArchive()
                try await eventually("the discard") { try await production.discarded() }
                // Nobody is at work: a copy does not get what is not its own.
                try await running.stop()
                try await eventually("the refusal", within: .seconds(60)) { archiver.output.contains("ArchiveUnknown") }
                try await eventually("the refusal at the surface", within: .seconds(60)) {
                    try await surface.get("/readyz").body.contains("evt archive adopt")
                }
                try await production.checkArchive()
                #expect(try await TestDatabase.number("SELECT count(*) FROM evt_history_lost", on: production.warehouse) == 0)
                let verified = try await production.evt("archive", "verify")
                #expect(verified.status == 0, "\(verified.text)")
                for process in [archiver, pusher] { #expect(try await process.terminate().status == 0) }
            }
        }
    }

    /// Copied as files, while nothing ran: nothing tells the two databases apart.
    @Test func aWarehouseThatACloneHasUsedIsRefusedUntilAPersonAdoptsIt() async throws {
        try await PrivateCluster.with { cluster in
            try await TestDatabase.with(.warehouse) { warehouse in
                try await ScratchDirectory.with { directory in
                    let production = Deployment(active: cluster.url, warehouse: warehouse, directory: directory)
                    try await production.migrate()
                    let archived = try [production.start("evt-pusher"), production.start("evt-archiver")]
                    try await production.record("FIRST")
                    try await eventually("the archive") { try await production.archived() == 1 }
                    for process in archived.reversed() { #expect(try await process.terminate().status == 0) }
                    let token = "SELECT token FROM evt_history_positions"
                    let mine = try await TestDatabase.rows(token, on: warehouse)
                    try await cluster.withClone { clone in
                        try await ScratchDirectory.with { other in
                            let copy = Deployment(active: clone.url, warehouse: warehouse, directory: other)
                            let cloned = try [copy.start("evt-pusher"), copy.start("evt-archiver")]
                            try await eventually("the clone's archiver") {
                                try await TestDatabase.rows(token, on: warehouse) != mine
                            }
                            for process in cloned.reversed() { #expect(try await process.terminate().status == 0) }
                        }
                        try await refusesUntilAdopted(production)
                    }
                }
            }
        }
    }

    private func refusesUntilAdopted(_ production: Deployment) async throws {
        let processes = try production.startRoles(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
        try await production.record("SECOND")
        try await eventually("the refusal", within: .seconds(60)) {
            processes["evt-archiver"]!.output.contains("ArchiveUnknown")
                && processes["evt-discarder"]!.output.contains("has been used by a copy of this database")
        }
        #expect(try await production.archived() == 1)
        #expect(try await production.backlog() == 2)
        #expect(try await production.evtAsOwner("archive", "adopt").status != 0, "without a reason")
        let adopted = try await production.evtAsOwner("archive", "adopt", "--reason", "the clone archived nothing")
        #expect(adopted.status == 0, "\(adopted.text)")
        try await eventually("the archive") { try await production.archived() == 2 }
        try await eventually("the discard") { try await production.backlog() == 0 }
        #expect(
            try await TestDatabase.rows("SELECT reason FROM evt_queue_archives WHERE reason IS NOT NULL", on: production.active)
                == [["the clone archived nothing"]])
        try await processes.stop()
    }

    @Test func anIdleArchiverNoticesThatItsWarehouseIsAwayAndConnectsAgain() async throws {
        try await PrivateCluster.with { warehouse in
            try await TestDatabase.with(.active) { active in
                try await ScratchDirectory.with { directory in
                    let deployment = Deployment(active: active, warehouse: warehouse.url, directory: directory)
                    try await deployment.migrate()
                    let pusher = try deployment.start("evt-pusher")
                    let archiver = try deployment.start("evt-archiver", [], ["EVT_METRICS_BIND": "127.0.0.1:0"])
                    let surface = try await Surface(of: archiver)
                    for _ in 0..<2 {
                        try await eventually("its work", within: .seconds(60)) { try await surface.isReady() }
                        try await warehouse.kill()
                        try await eventually("its trouble", within: .seconds(60)) {
                            let answer = try await surface.get("/readyz")
                            return answer.status == 503 && answer.body.contains("warehouse")
                        }
                        try await warehouse.start()
                    }
                    try await eventually("its work", within: .seconds(60)) { try await surface.isReady() }
                    for process in [archiver, pusher] { #expect(try await process.terminate().status == 0) }
                }
            }
        }
    }
}

extension Deployment {
    /// Whether the archive has everything, and nothing is kept.
    fileprivate func discarded() async throws -> Bool {
        guard try await backlog() == 0 else { return false }
        return try await archived() == TestDatabase.number("SELECT count(*) FROM truth", on: active)
    }

    /// A copy of the active database in the same cluster, and processes of its own that know the same warehouse.
    func withCopy(_ body: (Deployment) async throws -> Void) async throws {
        let name = "evt_copy_\(UInt64.random(in: 0...UInt64.max))"
        let source = try await TestDatabase.rows("SELECT current_database()", on: active)[0][0]!
        let maintenance = TestDatabase.url(of: "postgres")
        // The server takes a moment to notice that somebody has gone.
        try await eventually("the copy") {
            (try? await TestDatabase.execute("CREATE DATABASE \(name) TEMPLATE \(source)", on: maintenance)) != nil
        }
        let outcome: Result<Void, any Error>
        do {
            outcome = .success(
                try await ScratchDirectory.with { directory in
                    try await body(Deployment(active: TestDatabase.url(of: name), warehouse: warehouse, directory: directory))
                })
        } catch {
            outcome = .failure(error)
        }
        try await TestDatabase.execute("DROP DATABASE IF EXISTS \(name) WITH (FORCE)", on: maintenance)
        try outcome.get()
    }
}
