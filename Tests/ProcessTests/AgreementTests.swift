import CommandLineSupport
import EventStreamClient
import Foundation
import TestSupport
import Testing

/// The figures on every surface are those of the tables: while load runs they lie between what the tables said before and
/// after, and once it has ended they are the same.
@Suite struct AgreementTests {
    /// What a consumer lacks, counted from the tables.
    struct Truth: Sendable {
        var backlog = 0
        var lags: [String: Int] = [:]

        /// `want` of each consumer, as the test has chosen it.
        static func load(_ wants: [String: String?], on url: String) async throws -> Truth {
            var truth = Truth(backlog: try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: url))
            for (name, want) in wants {
                let filter = want.map { "AND type = '\($0)'" } ?? ""
                truth.lags[name] = try await TestDatabase.number(
                    """
                    SELECT count(*) FROM evt_queue WHERE id > (SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:\(name)') \(filter)
                    """, on: url)
            }
            return truth
        }
    }

    struct Page: Decodable, Sendable {
        struct Consumer: Decodable, Sendable {
            let consumer: String
            let lag: Int
            let held: Int
            let lag_seconds: Double
            let want: [String]?
        }
        let head: Int
        let backlog: Int
        let consumers: [Consumer]
    }

    private func page(_ deployment: Deployment) async throws -> Page {
        let output = try await deployment.evt("status", "--json")
        return try JSONDecoder().decode(Page.self, from: Data(output.text.utf8))
    }

    @Test func everySurfaceShowsWhatTheTablesHold() async throws {
        try await Deployment.with { deployment in
            // Nothing is discarded: the tables are to show all there was.
            let (processes, surfaces) = try await deployment.startObserved(["EVT_DISCARD_POLL_PERIOD": "7d"])
            let pusher = try #require(surfaces["evt-pusher"])
            for name in ["IDLE", "PICKY"] { _ = try await deployment.evtAsOwner("consumers", "register", name) }
            // What it wants is known from its last poll.
            let poller = try await PollClient([deployment.environment["EVT_PUSHER_CONNECT"]!])
            _ = try await poller.pollEvents("PICKY", after: nil, want: ["PICKED"])
            let wants = ["IDLE": nil, "PICKY": "PICKED", "FOLLOWER": nil, "ARCHIVER": nil] as [String: String?]
            try await PersistentReceiver.following(deployment) { receiver in
                try await WriterLoad(writers: 3, seed: 11, largest: 4, idle: 20).run(on: deployment.active) {
                    for round in 0..<10 {
                        try await deployment.record("PICKED")
                        try await deployment.goesOn(receiver, "in round \(round)")
                        try await compareUnderLoad(deployment, pusher, wants)
                    }
                }
                try await deployment.goesOn(receiver, "at the end")
            }
            try await compareAtRest(deployment, pusher, surfaces, wants)
            try await processes.stop()
        }
    }

    /// Lags of consumers that confirm nothing, and the backlog, only grow here.
    private func compareUnderLoad(_ deployment: Deployment, _ pusher: Surface, _ wants: [String: String?]) async throws {
        let before = try await Truth.load(wants, on: deployment.active)
        // Twice: the figures may be a second old.
        let samples = try await eventually("new figures") { () -> [String: Double]? in
            let samples = try await pusher.samples()
            return (samples["evt_queue_events"] ?? 0) >= Double(before.backlog) ? samples : nil
        }
        let status = try await page(deployment)
        let after = try await Truth.load(wants, on: deployment.active)
        #expect((before.backlog...after.backlog).contains(Int(samples["evt_queue_events"] ?? -1)))
        #expect((before.backlog...after.backlog).contains(status.backlog))
        for name in ["IDLE", "PICKY"] {
            let bounds = before.lags[name]!...after.lags[name]!
            #expect(bounds.contains(Int(samples["evt_consumer_lag_events{consumer=\"local:\(name)\"}"] ?? -1)))
            #expect(bounds.contains(status.consumers.first { $0.consumer == "local:\(name)" }?.lag ?? -1))
        }
    }

    private func compareAtRest(
        _ deployment: Deployment, _ pusher: Surface, _ surfaces: [String: Surface], _ wants: [String: String?]
    ) async throws {
        // Both have confirmed everything once their positions are stored.
        try await eventually("positions") {
            let truth = try await Truth.load(wants, on: deployment.active)
            return truth.lags["FOLLOWER"] == 0 && truth.lags["ARCHIVER"] == 0
        }
        let truth = try await Truth.load(wants, on: deployment.active)
        let status = try await page(deployment)
        #expect(status.backlog == truth.backlog)
        #expect(try await status.head == deployment.newest())
        let samples = try await eventually("figures of now") { () -> [String: Double]? in
            let samples = try await pusher.samples()
            let isDone =
                samples["evt_queue_events"] == Double(truth.backlog)
                && wants.keys.allSatisfy {
                    samples["evt_consumer_lag_events{consumer=\"local:\($0)\"}"].map { Int($0) } == truth.lags[$0]
                }
            return isDone ? samples : nil
        }
        for consumer in status.consumers {
            let name = String(consumer.consumer.dropFirst("local:".count))
            #expect(consumer.lag == truth.lags[name], "\(name)")
            #expect((consumer.lag_seconds > 0) == (consumer.lag > 0), "\(name)")
            #expect(samples["evt_consumer_held_events{consumer=\"\(consumer.consumer)\"}"] == Double(consumer.held))
            let seconds = samples["evt_consumer_lag_seconds{consumer=\"\(consumer.consumer)\"}"] ?? -1
            #expect((seconds > 0) == (consumer.lag > 0), "\(name): \(seconds)")
        }
        #expect(status.consumers.first { $0.consumer == "local:PICKY" }?.want == ["PICKED"])
        #expect(truth.lags["PICKY"]! > 0 && truth.lags["PICKY"]! < truth.lags["IDLE"]!)
        try await compareCounters(deployment, surfaces, truth, samples)
        try await comparePages(deployment, surfaces, truth)
    }

    private func compareCounters(
        _ deployment: Deployment, _ surfaces: [String: Surface], _ truth: Truth, _ samples: [String: Double]
    ) async throws {
        #expect(samples["evt_queue_events"] == Double(truth.backlog))
        #expect(samples["evt_pusher_events_read_total"] == Double(truth.backlog))
        // What is not answered in time is delivered again.
        let delivered = samples["evt_pusher_events_delivered_total{consumer=\"local:ARCHIVER\"}"] ?? 0
        #expect(delivered >= Double(truth.backlog))
        let latencies = samples["evt_pusher_delivery_latency_seconds_count{consumer=\"local:ARCHIVER\"}"] ?? 0
        #expect(latencies > 0 && latencies <= delivered)
        let archiver = try #require(surfaces["evt-archiver"])
        let archived = Double(try await deployment.archived())
        try await eventually("the archiver's figures") {
            let samples = try await archiver.samples()
            return samples["evt_archiver_events_total"] == archived && samples["evt_archiver_lag_events"] == 0
        }
    }

    /// The pages for people tell the same.
    private func comparePages(_ deployment: Deployment, _ surfaces: [String: Surface], _ truth: Truth) async throws {
        for name in ["IDLE", "PICKY"] {
            let lag = "\(truth.lags[name]!)"
            for arguments in [["status"], ["top", "--count", "1", "--interval", "100ms"]] {
                let page = try await ChildProcess.run("evt", arguments, environment: deployment.environment)
                let line = page.text.split(separator: "\n").first { $0.hasPrefix("local:\(name)") }
                #expect(line?.split(separator: " ").map(String.init).contains(lag) == true, "\(arguments[0]): \(page.text)")
            }
        }
        let doctor = try await deployment.evt("doctor", "--metrics-connect", surfaces.endpoints)
        #expect(doctor.text.replacing(" ", with: "").contains("\(truth.backlog)eventsinthetable"))
        #expect(doctor.text.replacing(" ", with: "").contains("local:IDLEhasnoreceiver:\(truth.lags["IDLE"]!)events"))
    }
}
