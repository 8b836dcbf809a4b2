import EventStream
import EventStreamClient
import Foundation
import LibPQ
import TestSupport
import Testing

/// Real faults of a real pipeline: what its processes show then makes Prometheus fire the alert for it, if it lasts, and no other.
///
/// What was scraped is put into a file of promtool's, as if it went on like that for an hour: what counts seconds goes on counting.
@Suite struct AlertTests {
    private struct Scrape: Sendable {
        /// Nil of a process that does not answer.
        let samples: [String: [String: Double]?]

        init(_ surfaces: [String: Surface]) async {
            var samples: [String: [String: Double]?] = [:]
            for (name, surface) in surfaces { samples[name] = .some(try? await surface.samples()) }
            self.samples = samples
        }

        /// The series, each sample a minute after the one before.
        var series: [(name: String, values: String)] {
            var series: [(String, String)] = []
            for (job, found) in samples {
                let labels = "job=\"\(job)\",instance=\"127.0.0.1:1\""
                series.append(("up{\(labels)}", "\(found == nil ? 0 : 1)x60"))
                // What is not known cannot be written into such a file; no alert asks for it.
                for (name, value) in found ?? [:] where !name.contains("_bucket") && !value.isNaN {
                    let full = name.hasSuffix("}") ? "\(name.dropLast()),\(labels)}" : "\(name){\(labels)}"
                    let goesOn = ["lag_seconds", "gap_age_seconds"].contains { name.contains($0) } && value > 0
                    series.append((full, goesOn ? "\(value)+60x60" : "\(value)x60"))
                }
            }
            return series
        }
    }

    private static let rules = URL(filePath: #filePath).deletingLastPathComponent().appending(
        path: "../../etc/prometheus/alerts.yml"
    )
    .standardizedFileURL.path

    /// The alerts that fire in the end.
    private func alerts(_ surfaces: [String: Surface], _ directory: String) async throws -> [String] {
        let scrape = await Scrape(surfaces)
        var test = "rule_files: ['\(Self.rules)']\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n"
        for (name, values) in scrape.series { test += "      - {series: '\(name)', values: '\(values)'}\n" }
        test +=
            "    promql_expr_test:\n      - expr: 'ALERTS{alertstate=\"firing\"}'\n        eval_time: 45m\n        exp_samples: []\n"
        let file = "\(directory)/alerts.yml"
        try Data(test.utf8).write(to: URL(filePath: file))
        let output = try await ChildProcess.run("/usr/bin/env", ["promtool", "test", "rules", file])
        // What was got instead of nothing is named, each with its labels.
        let names = output.text.split(separator: "alertname=\"").dropFirst().map { String($0.prefix { $0 != "\"" }) }
        try #require(output.status == 0 || !names.isEmpty, "\(output.text.prefix(2000))")
        return Set(names).sorted()
    }

    private func expect(
        _ alert: String?, _ deployment: Deployment, _ surfaces: [String: Surface], _ fault: String
    ) async throws {
        var last: [String] = []
        do {
            try await eventually("\(alert ?? "no alert") alone for \(fault)") {
                last = try await alerts(surfaces, deployment.directory)
                return last == [alert].compactMap { $0 }
            }
        } catch {
            Issue.record("\(fault): \(last)")
        }
    }

    @Test func eachFaultOfTheActiveSideFiresItsAlertAndNoOther() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
            try await PersistentReceiver.following(deployment) { receiver in
                try await deployment.goesOn(receiver, "at first")
                try await expect(nil, deployment, surfaces, "a pipeline that works")

                let pusher = try #require(processes["evt-pusher"])
                pusher.signal(SIGSTOP)
                try await expect("EventStreamProcessDown", deployment, surfaces, "a frozen pusher")
                pusher.signal(SIGCONT)

                try await TestDatabase.connected(to: deployment.active) { connection in
                    try await connection.query("BEGIN")
                    try await connection.query("SELECT evt_add('OPEN', '1')")
                    try await deployment.record("WAITS")
                    try await expect("EventStreamHeldByTransaction", deployment, surfaces, "a long open transaction")
                    try await connection.query("ROLLBACK")
                }
                try await deployment.goesOn(receiver, "after the transaction")

                _ = try await deployment.evtAsOwner("consumers", "register", "DEAD")
                try await deployment.record("LOST")
                try await expect("EventStreamConsumerDead", deployment, surfaces, "a dead consumer")
                _ = try await deployment.evtAsOwner("consumers", "remove", "DEAD")
                try await expect(nil, deployment, surfaces, "no consumer that is dead")

                #expect(try await processes["evt-archiver"]!.terminate().status == 0)
                try await deployment.record("KEPT")
                try await expect("EventStreamProcessDown", deployment, surfaces, "a stopped archiver")
            }
            try await processes.filter { $0.key != "evt-archiver" }.stop()
        }
    }

    /// With times of years ago and of years to come: what counts is since when events could be delivered.
    @Test func backfillsFireAlertsOnlyForWhatWaits() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            let pusher = try #require(surfaces["evt-pusher"])
            _ = try await deployment.evtAsOwner("consumers", "register", "DEAD")
            try await PersistentReceiver.following(deployment) { receiver in
                for time in ["-8 years", "1 year"] {
                    try await TestDatabase.execute(
                        """
                        INSERT INTO evt_queue (type, data, ts) SELECT 'FILLED', '1', (now() AT TIME ZONE 'UTC') + interval '\(time)'
                        FROM generate_series(1, 100)
                        """, on: deployment.active)
                    try await deployment.goesOn(receiver, "behind a backfill of \(time)")
                    // Those who receive are not late; one that nobody receives for is, and since today.
                    try await expect("EventStreamConsumerDead", deployment, surfaces, "a dead consumer, events of \(time)")
                    let samples = try await pusher.samples()
                    let lag = samples["evt_consumer_lag_seconds{consumer=\"local:DEAD\"}"] ?? -1
                    #expect(lag > 0 && lag < 3600, "\(time): \(lag)")
                    for name in ["local:DEAD", "local:FOLLOWER", "local:ARCHIVER"] {
                        let sum = samples["evt_pusher_delivery_latency_seconds_sum{consumer=\"\(name)\"}"] ?? 0
                        #expect(sum >= 0 && sum < 3600, "\(name): \(sum)")
                    }
                    let page = try await deployment.evt("status", "--json")
                    #expect(page.text.matches(of: /"lag_seconds":\s*[0-9]{5,}/).isEmpty, "\(page.text)")
                    _ = try await deployment.evtAsOwner("consumers", "set", "DEAD", "head")
                }
            }
            try await processes.stop()
        }
    }

    @Test func aFullDiskFiresItsAlertAndNoOther() async throws {
        try await ScratchDirectory.with { directory in
            try await PrivateCluster.with(faultsIn: directory) { cluster in
                try await TestDatabase.with(.warehouse) { warehouse in
                    let deployment = Deployment(active: cluster.url, warehouse: warehouse, directory: directory)
                    try await deployment.migrate()
                    let (processes, surfaces) = try await deployment.startObserved()
                    try cluster.setFull(true)
                    let generator = try await deployment.generator()
                    let data = RawJSON(string: String(repeating: "room ", count: 1000))
                    try await eventually("no room") {
                        do {
                            _ = try await generator.addEvent("FULL", data)
                            return false
                        } catch {
                            return "\(error)".contains("No space left")
                        }
                    }
                    try await expect("EventStreamNotReady", deployment, surfaces, "a full disk")
                    try cluster.setFull(false)
                    try await eventually("room") { (try? await generator.addEvent("ROOM", data)) != nil }
                    try await expect(nil, deployment, surfaces, "room again")
                    try await processes.stop()
                }
            }
        }
    }

    @Test func aWarehouseThatIsGoneFiresItsAlertAndNoOther() async throws {
        try await PrivateCluster.with { cluster in
            try await TestDatabase.with(.active) { active in
                try await ScratchDirectory.with { directory in
                    let deployment = Deployment(active: active, warehouse: cluster.url, directory: directory)
                    try await deployment.migrate()
                    let (processes, surfaces) = try await deployment.startObserved(["EVT_DISCARD_REQUIRE": "ARCHIVER"])
                    try await cluster.kill()
                    try await deployment.record("KEPT")
                    try await expect("EventStreamNotReady", deployment, surfaces, "a warehouse that is gone")
                    try await cluster.start()
                    try await expect(nil, deployment, surfaces, "a warehouse that is back")
                    try await processes.stop()
                }
            }
        }
    }

    @Test func anArchiveThatLacksEventsFiresItsAlertAndNoOther() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved(
                ["EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_DISCARD_POLL_PERIOD": "1s"])
            _ = try await deployment.evtAsOwner("consumers", "register", "LATE")
            try await deployment.record("GONE")
            try await eventually("the archive") { try await deployment.archived() == 1 }
            try await TestDatabase.execute("DELETE FROM evt_history", on: deployment.warehouse)
            _ = try await deployment.evtAsOwner("consumers", "remove", "LATE")
            try await expect("EventStreamArchiveDiffers", deployment, surfaces, "an archive that lacks an event")
            try await processes.stop()
        }
    }
}
