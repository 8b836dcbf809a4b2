import Foundation
import TestSupport
import Testing

extension FaultTests {
    /// The clocks of the processes and of PostgreSQL are set forwards and backwards by hours.
    @Suite struct ClockTests {
        private static let hour: Int64 = 3600

        @Test func clocksThatAreSetChangeNeitherOrderNorSessions() async throws {
            try await ScratchDirectory.with { directory in
                try await PrivateCluster.with(faultsIn: directory) { cluster in
                    let deployment = Deployment(active: cluster.url, warehouse: cluster.url, directory: directory)
                    try await deployment.migrate()
                    var faults: [Faults] = []
                    var processes: [String: ChildProcess] = [:]
                    for role in Deployment.roles + ["evt-pusher, the second"] {
                        let fault = try await Faults(in: directory)
                        faults.append(fault)
                        var settings = ["EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_SESSION_TIMEOUT": "15s"]
                        if role.hasSuffix("second") {
                            settings.merge(["EVT_PUSHER_BIND": "ipc://\(directory)/push2", "EVT_LIVE_BIND": ""]) { $1 }
                        }
                        processes[role] = try deployment.start(
                            String(role.prefix { $0 != "," }), [], fault.environment.merging(settings) { $1 })
                    }
                    try await PersistentReceiver.following(deployment, timeout: .seconds(20)) { receiver in
                        try await eventually("the archive") { try await deployment.isRegistered("ARCHIVER") }
                        try await deployment.goesOn(receiver, "at first")
                        let sessions = "SELECT ident, session_epoch, session_owner FROM evt_consumers ORDER BY ident"
                        let before = try await TestDatabase.rows(sessions, on: deployment.active)
                        let load = WriterLoad(writers: 2, seed: 7, largest: 5, idle: 30)
                        try await load.run(on: deployment.active) {
                            // Each clock for itself, all together, and all back.
                            for (round, hours) in [(0, 3), (1, -5), (2, 26), (3, -26), (4, 5), (5, 12), (6, -7), (7, 0)] {
                                let ahead = Int64(hours) * Self.hour
                                if round < faults.count {
                                    try faults[round].setClock(ahead: ahead)
                                } else {
                                    for fault in faults { try fault.setClock(ahead: ahead) }
                                }
                                if round >= faults.count || round % 2 == 1 { try cluster.setClock(ahead: -ahead / 2) }
                                // In the end for longer than a lease: one reckoned by the wrong clock would be over.
                                let beat = try await Self.beats(deployment)
                                let more = round == 7 ? 12 : 1
                                try await eventually("signs of life") { try await Self.beats(deployment) > beat + more }
                                try await deployment.goesOn(receiver, "\(hours) hours ahead")
                            }
                        }
                        #expect(try await TestDatabase.rows(sessions, on: deployment.active) == before)
                    }
                    let back = try await TestDatabase.number(
                        "SELECT count(*) FROM (SELECT ts < lag(ts) OVER (ORDER BY id) AS back FROM truth) t WHERE back",
                        on: deployment.active)
                    #expect(back > 0, "the server's clock was not set back")
                    try await deployment.checkArchive()
                    try await eventually("the discard") { try await deployment.backlog() == 0 }
                    #expect(try await deployment.evt("archive", "verify").text.contains(" 0 findings"))
                    for (name, process) in processes {
                        // While a clock is set a commit that lasts a moment may seem to have lasted for minutes.
                        let warnings = process.warnings.filter { !$0.contains("somebody keeps the process from its work") }
                        #expect(warnings == [], "\(name): \(process.output)")
                    }
                    try await processes.stop()
                }
            }
        }

        /// How often the pushers have shown that they live: every fifth of a session's timeout each.
        private static func beats(_ deployment: Deployment) async throws -> Int {
            try await TestDatabase.number("SELECT sum(beat) FROM evt_queue_pushers", on: deployment.active)
        }
    }
}
