import Foundation
import TestSupport
import Testing

/// A consumer that stands still, with a maximum lag: the table stays small, and everybody says where that consumer's events are.
@Suite(.serialized) struct MaxLagTests {
    private struct Page: Decodable {
        struct Consumer: Decodable {
            let consumer: String
            let held: Int
            let reads_archive: Bool
            let archive_ids: Int
            let max_lag: String?
        }
        let discarded: Int
        let held_by: String?
        let max_lag: String?
        let consumers: [Consumer]
    }

    private func page(_ deployment: Deployment) async throws -> Page {
        try JSONDecoder().decode(Page.self, from: Data(try await deployment.evt("status", "--json").text.utf8))
    }

    @Test func aStuckConsumerDoesNotLetTheTableGrow() async throws {
        try await Deployment.with { deployment in
            // About 65 ids a segment.
            let (segment, step) = (1 << 17, 2000)
            try await TestDatabase.execute("ALTER SEQUENCE evt_queue_id_seq INCREMENT BY \(step)", on: deployment.active)
            try await deployment.register("STUCK")
            let (processes, surfaces) = try await deployment.startObserved([
                "EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_DISCARD_MAX_LAG": "\(40 * step)", "EVT_SESSION_TIMEOUT": "2s",
            ])
            try await PersistentReceiver.following(deployment) { receiver in
                // However fast the writers are, discarding goes on past the consumer.
                try await WriterLoad(writers: 2, seed: 7, largest: 3, idle: 30).run(on: deployment.active) {
                    while try await TestDatabase.number("SELECT discarded FROM evt_queue_state", on: deployment.active) <= 5
                        * segment
                    {
                        try await deployment.goesOn(receiver, "beside a stuck consumer")
                    }
                }
                try await eventually("an empty table") { try await deployment.backlog() == 0 }
            }
            let status = try await page(deployment)
            let stuck = try #require(status.consumers.first { $0.consumer == "local:STUCK" })
            #expect(stuck.reads_archive && stuck.archive_ids == status.discarded && stuck.held == 0 && stuck.max_lag == nil)
            #expect(status.held_by == nil && status.max_lag == "\(40 * step)" && status.discarded > 5 * segment)
            #expect(status.consumers.allSatisfy { $0.reads_archive == ($0.consumer == "local:STUCK") })
            let where_ = "\(status.discarded) ids before the events of the table, and holds nothing back"
            let text = try await deployment.evt("status").text
            #expect(text.contains("\nmax lag  \(40 * step) events: ") && text.contains(where_), "\(text)")
            let top = try await deployment.evt("top", "--count", "1", "--interval", "100ms").text
            #expect(top.contains(where_), "\(top)")
            let doctor = try await deployment.evt("doctor", "--metrics-connect", surfaces.endpoints)
            #expect(
                doctor.text.contains("local:STUCK") && doctor.text.replacing("\n", with: " ").contains("ids before"),
                "\(doctor.text)")
            let pusher = try #require(surfaces["evt-pusher"])
            try await eventually("the metric") {
                try await pusher.samples()["evt_consumer_archive_ids{consumer=\"local:STUCK\"}"] == Double(status.discarded)
            }
            #expect(try await pusher.samples()["evt_consumer_archive_ids{consumer=\"local:ARCHIVER\"}"] == 0)
            let discarder = try #require(surfaces["evt-discarder"])
            try await eventually("no figures of who holds nothing") {
                let held = try await discarder.samples().filter { $0.key.hasPrefix("evt_discarder_held_events{") }
                return held.count == 1 && held.allSatisfy { $0.value == 0 && !$0.key.contains("STUCK") }
            }
            let log = try #require(processes["evt-discarder"]).output
            #expect(
                log.components(separatedBy: "has not confirmed are discarded").count == 2 && log.contains("max_lag="), "\(log)")
            try await deployment.checkArchive()
            let verified = try await deployment.evt("archive", "verify")
            #expect(verified.status == 0, "\(verified.text)")
            try await processes.stop()
        }
    }

    @Test func aMaximumLagWithoutAnArchiveIsRefused() async throws {
        try await Deployment.with { deployment in
            let discarder = try deployment.start("evt-discarder", [], ["EVT_DISCARD_MAX_LAG": "1000"])
            let end = try await discarder.ended()
            #expect(end.status != 0)
            #expect(
                end.text.contains(
                    "EVT_DISCARD_MAX_LAG needs EVT_DISCARD_REQUIRE: events that a consumer has not confirmed are only in the archive"
                ),
                "\(end.text)")
        }
    }
}
