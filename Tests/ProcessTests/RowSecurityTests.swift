import CommandLineSupport
import EventStreamClient
import Foundation
import TestSupport
import Testing

/// Policies that hide rows from the processes' roles: nothing hidden is passed over, and everything says what is wrong.
@Suite struct RowSecurityTests {
    private static func words(_ table: String, _ login: TestLogin) -> String {
        "row-level security on public.\(table) applies to the role \(login.name)"
    }

    private static func refuses(_ surface: Surface?, _ words: String) async throws {
        var last = ""
        do {
            try await eventually("a refusal") {
                let answer = try await #require(surface).get("/readyz")
                last = answer.body
                return answer.status == 503 && answer.body.contains(words)
            }
        } catch {
            throw Failure("\(words): \(error): \(last)")
        }
    }

    private static func enable(_ table: String, _ condition: String, on url: String) async throws {
        try await TestDatabase.execute(
            "ALTER TABLE \(table) ENABLE ROW LEVEL SECURITY; CREATE POLICY hiding ON \(table) USING (\(condition)) WITH CHECK (true)",
            on: url)
    }

    private static func disable(_ table: String, on url: String) async throws {
        try await TestDatabase.execute("ALTER TABLE \(table) DISABLE ROW LEVEL SECURITY", on: url)
    }

    private static func areReady(_ surfaces: [String: Surface]) async throws {
        for (name, surface) in surfaces {
            try await eventually("\(name) to be ready again") { try await surface.isReady() }
        }
    }

    @Test func aHiddenConsumerLosesNothing() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            try await deployment.register("HIDDEN")
            try await Self.enable("evt_consumers", "ident <> 'local:HIDDEN'", on: deployment.active)
            for _ in 0..<3 { try await deployment.record("KEPT") }
            try await Self.refuses(surfaces["evt-pusher"], Self.words("evt_consumers", .pusher))
            try await Self.refuses(surfaces["evt-discarder"], Self.words("evt_consumers", .discarder))
            #expect(try await deployment.backlog() == 3)

            let doctor = try await deployment.evt("doctor", "--metrics-connect", surfaces.endpoints)
            #expect(doctor.status == 2 && doctor.text.contains(Self.words("evt_consumers", .monitor)), "\(doctor.text)")
            #expect(doctor.text.contains(Self.words("evt_consumers", .pusher)))
            let status = try await deployment.evt("status")
            #expect(status.status != 0 && status.text.contains(Self.words("evt_consumers", .monitor)), "\(status.text)")
            // The owner sees every row, and what others do not see.
            let owner = try await deployment.evtAsOwner("status")
            #expect(owner.text.contains("row-level security on public.evt_consumers applies to"), "\(owner.text)")
            #expect(owner.text.contains(TestLogin.discarder.name) && owner.text.contains(TestLogin.pusher.name))
            let report = try await deployment.evtAsOwner("doctor", "--metrics-connect", surfaces.endpoints)
            #expect(report.text.contains("critical tables: row-level security on public.evt_consumers"), "\(report.text)")

            try await Self.disable("evt_consumers", on: deployment.active)
            try await Self.areReady(surfaces)
            try await eventually("the archive") { try await deployment.archived() == 3 }
            #expect(try await deployment.backlog() == 3)
            try await processes.stop()
        }
    }

    @Test func `hidden events are delivered when they are not hidden any more`() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            try await deployment.record("SEEN")
            try await eventually("the archive") { try await deployment.archived() == 1 }
            try await Self.enable("evt_queue", "type <> 'HIDDEN'", on: deployment.active)
            try await Self.enable("evt_queue_0", "type <> 'HIDDEN'", on: deployment.active)
            for type in ["HIDDEN", "SEEN", "HIDDEN"] { try await deployment.record(type) }
            try await Self.refuses(surfaces["evt-pusher"], Self.words("evt_queue", .pusher))
            try await Self.refuses(surfaces["evt-discarder"], Self.words("evt_queue", .discarder))
            // The generator finds out when it writes; no event is lost without a word.
            let refused = try await failure { try await deployment.generator().addEvent("HIDDEN", "1") }
            #expect(refused.contains("not recorded"), "\(refused)")
            try await Self.refuses(surfaces["evt-generator"], Self.words("evt_queue", .generator))
            // One of the segments is enough.
            try await Self.disable("evt_queue", on: deployment.active)
            try await Self.refuses(surfaces["evt-discarder"], Self.words("evt_queue_0", .discarder))
            #expect(try await deployment.archived() == 1)
            try await Self.disable("evt_queue_0", on: deployment.active)
            try await Self.areReady(surfaces)
            try await eventually("the archive") { try await deployment.archived() == 4 }
            try await processes.stop()
        }
    }

    @Test func aWarehouseThatHidesEventsIsNotTrusted() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            try await deployment.record("FIRST")
            try await eventually("the discard") {
                try await deployment.archived() == 1 ? try await deployment.backlog() == 0 : false
            }
            try await Self.enable("evt_history", "type <> 'HIDDEN'", on: deployment.warehouse)
            try await deployment.record("HIDDEN")
            try await Self.refuses(surfaces["evt-archiver"], Self.words("evt_history", .archiver))
            #expect(try await deployment.backlog() == 1)
            let doctor = try await deployment.evt("doctor", "--metrics-connect", surfaces.endpoints)
            #expect(doctor.text.contains("critical warehouse: " + Self.words("evt_history", .monitor)), "\(doctor.text)")
            try await Self.disable("evt_history", on: deployment.warehouse)
            try await eventually("the archive") { try await deployment.archived() == 2 }
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            try await processes.stop()
        }
    }
}
