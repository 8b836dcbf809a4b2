import CommandLineSupport
import Foundation
import TestSupport
import Testing

/// A database that a logical subscription feeds is no stream; when it is cut over it becomes one, without losing an event.
@Suite struct SubscriptionTests {
    @Test func processesRefuseWhatASubscriptionFeedsAndTheCutOverLosesNothing() async throws {
        try await PrivateCluster.with { cluster in
            try await TestDatabase.execute("ALTER SYSTEM SET wal_level = logical", on: cluster.url)
            try await cluster.kill()
            try await cluster.start()
            for name in ["app", "replica", "warehouse"] {
                try await TestDatabase.execute("CREATE DATABASE \(name)", on: cluster.url)
            }
            let (app, replica) = (cluster.url(of: "app"), cluster.url(of: "replica"))
            try await ScratchDirectory.with { directory in
                let source = Deployment(active: app, warehouse: cluster.url(of: "warehouse"), directory: directory)
                let deployment = Deployment(active: replica, warehouse: cluster.url(of: "warehouse"), directory: directory)
                for each in [source, deployment] { try await each.migrate() }
                // Where the stream was: what is discarded and confirmed up to 500.
                try await TestDatabase.execute(
                    """
                    SELECT setval('evt_queue_id_seq', 500); INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:FAR', 500);
                    CREATE PUBLICATION stream FOR TABLE evt_queue, evt_consumers;
                    """, on: app)
                try await TestDatabase.execute("SELECT pg_create_logical_replication_slot('stream', 'pgoutput')", on: app)
                // At work when the subscription is made.
                let metrics = ["EVT_METRICS_BIND": "127.0.0.1:0"]
                let programs = ["evt-pusher", "evt-discarder"]
                let processes = try programs.map { try deployment.start($0, [], metrics) }
                var surfaces: [String: Surface] = [:]
                for (name, process) in zip(programs, processes) {
                    let surface = try await Surface(of: process)
                    try await eventually("\(name) to be ready") { try await surface.isReady() }
                    surfaces[name] = surface
                }
                try await TestDatabase.execute(
                    """
                    CREATE SUBSCRIPTION stream CONNECTION '\(app)' PUBLICATION stream WITH (slot_name = 'stream', create_slot = false)
                    """, on: replica)
                for _ in 0..<20 { try await source.record("REPLICATED") }
                let words = "a logical subscription writes into public.evt_"
                for (name, surface) in surfaces {
                    try await eventually("a refusal by \(name)") {
                        let answer = try await surface.get("/readyz")
                        return answer.status == 503 && answer.body.contains(words)
                    }
                }
                // One that starts says so, too.
                let late = try deployment.start("evt-generator")
                try await eventually("a refusal by the generator") { late.output.contains(words) }
                let doctor = try await deployment.evt("doctor", "--metrics-connect", surfaces.endpoints)
                #expect(doctor.status == 2 && doctor.text.contains("critical tables: \(words)"), "\(doctor.text)")
                let status = try await deployment.evt("status")
                #expect(status.text.contains(words), "\(status.text)")
                let changed = try await deployment.evtAsOwner("consumers", "set", "local:FAR", "0")
                #expect(changed.status != 0 && changed.text.contains(words), "\(changed.text)")

                // Cut over, and nobody thinks of the sequence.
                try await eventually("the rows") { try await deployment.backlog() == 20 }
                let confirmed = try await TestDatabase.number("SELECT max(last_evt_id) FROM evt_consumers", on: replica)
                #expect(confirmed == 500)
                try await TestDatabase.execute("DROP SUBSCRIPTION stream", on: replica)
                var refusal = ""
                let id = try await eventually("an id") {
                    do {
                        return try await deployment.record("AFTER")
                    } catch {
                        refusal = "\(error)"
                        return nil
                    }
                }
                #expect(id > 520, "\(id)")
                #expect(refusal == "" || refusal.contains("have been delivered"), "\(refusal)")
                for (name, surface) in surfaces {
                    try await eventually("\(name) to be ready again") { try await surface.isReady() }
                }
                for process in processes + [late] { #expect(try await process.terminate().status == 0) }
            }
        }
    }
}
