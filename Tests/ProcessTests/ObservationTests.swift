import CommandLineSupport
import EventStreamServer
import Foundation
import LibPQ
import TestSupport
import Testing

/// Metrics, health checks and the service manager, of the built processes.
@Suite struct ObservationTests {
    @Test func everyProcessServesItsMetricsAndSaysThatItIsWell() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            _ = try await deployment.evt("add", "A", "1")
            for (name, surface) in surfaces {
                #expect(try await surface.get("/livez").status == 200)
                let role = name.dropFirst(4)
                // One that is ready may be late with the next look for a moment.
                let text = try await eventually("\(role) to show it") {
                    let text = try await surface.get("/metrics").body
                    return text.contains("\nevt_\(role)_ready 1\n") ? text : nil
                }
                #expect(text.contains("\nevt_db_reconnects_total 0\n"))
                #expect(text.contains("\nprocess_resident_memory_bytes ") && text.contains("\nprocess_open_fds "))
                // Each with what it means.
                let names = text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.map { $0.split(separator: " ")[2] }
                for each in names { #expect(text.contains("# HELP \(each) ")) }
                #expect(Set(names.filter { $0.hasPrefix("evt_") }.map(String.init)).isSubset(of: Set(Metric.all.map(\.name))))
                #expect(try await surface.get("/elsewhere").status == 404)
            }
            try await processes.stop()
        }
    }

    @Test func readyzNamesADatabaseThatIsGoneAndLivezDoesNot() async throws {
        try await PrivateCluster.with { cluster in
            try await TestDatabase.with(.warehouse) { warehouse in
                try await ScratchDirectory.with { directory in
                    let deployment = Deployment(active: cluster.url, warehouse: warehouse, directory: directory)
                    try await deployment.migrate()
                    let (processes, surfaces) = try await deployment.startObserved()
                    try await cluster.kill()
                    for name in ["evt-generator", "evt-pusher", "evt-discarder"] {
                        let surface = try #require(surfaces[name])
                        let answer = try await eventually("\(name) to say so") {
                            let answer = try await surface.get("/readyz")
                            return answer.status == 503 ? answer.body : nil
                        }
                        #expect(answer.contains("connection") || answer.contains("server"), "\(name): \(answer)")
                        #expect(try await surface.get("/livez").status == 200)
                        // A server that ends says so first; the next attempt finds nobody.
                        try await eventually("\(name) to count an attempt") {
                            (try await surface.samples()["evt_db_reconnects_total"] ?? 0) > 0
                        }
                    }
                    try await cluster.start()
                    for (name, surface) in surfaces {
                        try await eventually("\(name) to be ready again") { try await surface.isReady() }
                    }
                    try await processes.stop()
                }
            }
        }
    }

    @Test func readyzNamesTheTransactionThatAllEventsWaitFor() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            let pusher = try #require(surfaces["evt-pusher"])
            try await TestDatabase.connected(to: deployment.active) { connection in
                let pid = connection.backendProcessID
                try await connection.query("BEGIN")
                try await connection.query("SELECT evt_add('OPEN', '1')")
                try await deployment.record("WAITS")
                try await eventually("readyz to say so") {
                    let answer = try await pusher.get("/readyz")
                    return answer.status == 503 && answer.body.contains("pid \(pid)")
                }
                let samples = try await pusher.samples()
                #expect(samples["evt_pusher_gaps_open"] == 1)
                #expect(samples["evt_pusher_gap_age_seconds"] ?? 0 > 10)
                try await connection.query("ROLLBACK")
            }
            try await eventually("readiness") { try await pusher.isReady() }
            #expect(try await pusher.samples()["evt_pusher_gaps_open"] == 0)
            try await processes.stop()
        }
    }

    @Test func theFiguresOfAConsumerThatIsRemovedOrRenamedDisappear() async throws {
        try await Deployment.with { deployment in
            let (processes, surfaces) = try await deployment.startObserved()
            func shown(_ name: String) async throws -> [String] {
                var found: [String] = []
                for (process, surface) in surfaces {
                    found += try await surface.samples().keys.filter { $0.contains("local:\(name)\"") }.map { "\(process) \($0)" }
                }
                return found.sorted()
            }
            for (name, change) in [("GONE", ["remove", "GONE"]), ("OLD", ["rename", "OLD", "NEW"])] {
                let receiver = PersistentReceiver(name, at: [deployment.environment["EVT_PUSHER_CONNECT"]!])
                try await receiver.start()
                try await deployment.goesOn(receiver, "at first")
                await receiver.stop()
                // It holds events back then, which the discarder shows.
                try await deployment.record("HELD")
                try await eventually("figures of \(name)") {
                    let names = try await shown(name)
                    return names.contains { $0.contains("evt_pusher_delivered") || $0.contains("events_delivered") }
                        && names.contains { $0.contains("evt_discarder_held_events") }
                        && names.contains { $0.contains("evt_consumer_lag_events") }
                }
                let done = try await ChildProcess.run("evt", ["consumers"] + change, environment: deployment.environment)
                #expect(done.status == 0, "\(done.text)")
                try await eventually("no figures of \(name)") { try await shown(name).isEmpty }
                if name == "OLD" { _ = try await deployment.evtAsOwner("consumers", "remove", "NEW") }
            }
            try await processes.stop()
        }
    }

    @Test func aPortThatIsTakenKeepsNoProcessFromItsWork() async throws {
        try await Deployment.with { deployment in
            let first = try deployment.start("evt-pusher", [], ["EVT_METRICS_BIND": "127.0.0.1:0"])
            let surface = try await Surface(of: first)
            let second = try deployment.start("evt-discarder", [], ["EVT_METRICS_BIND": "\(surface.endpoint)"])
            try await eventually("a word about it") { second.output.contains("no metrics and no health checks") }
            try await eventually("work") { second.output.contains("discarding") }
            _ = try await first.terminate()
            try await eventually("its turn") { second.output.contains("endpoint=http://\(surface.endpoint)") }
            #expect(try await second.terminate().status == 0)
        }
    }

    @Test func othersAreRefusedWithoutAWord() async throws {
        try await Deployment.with { deployment in
            let refused = try await deployment.start("evt-pusher", [], ["EVT_METRICS_BIND": "0.0.0.0:9571"]).ended()
            #expect(refused.status != 0 && refused.text.contains("EVT_METRICS_BIND: 0.0.0.0:9571 can be reached"))
        }
    }

    @Test func moreConnectionsThanItTakesDoItNoHarm() async throws {
        try await Deployment.with { deployment in
            let pusher = try deployment.start("evt-pusher", [], ["EVT_METRICS_BIND": "127.0.0.1:0"])
            let surface = try await Surface(of: pusher)
            for _ in 0..<5 {
                await withDiscardingTaskGroup { group in
                    for _ in 0..<150 {
                        // Those beyond the limit are closed without a word.
                        group.addTask { _ = try? await surface.get("/metrics") }
                    }
                }
            }
            try await eventually("an answer") { try? await surface.get("/livez").status == 200 }
            #expect(try await pusher.terminate().status == 0)
        }
    }

    @Test func theServiceManagerIsToldWhatItWantsToKnow() async throws {
        try await Deployment.with { deployment in
            let manager = try NotifySocket(deployment.directory + "/notify")
            let pusher = try deployment.start(
                "evt-pusher", [], ["NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"])
            try await eventually("READY and signs of life") {
                let told = manager.received()
                return told.contains("READY=1") && told.filter { $0 == "WATCHDOG=1" }.count > 2
                    && told.contains { $0.hasPrefix("STATUS=pusher: following the stream") }
            }
            pusher.signal(SIGTERM)
            // It is listened to until then: the socket holds only so much.
            try await eventually("the end") {
                _ = manager.received()
                return !pusher.isRunning
            }
            #expect(try await pusher.ended().status == 0)
            // A sign of life may be on its way when the stop is told.
            #expect(manager.received().last { $0 != "WATCHDOG=1" } == "STOPPING=1")
        }
    }
}

/// What systemd would listen at.
private final class NotifySocket: @unchecked Sendable {
    let path: String
    private let descriptor: Int32
    private var messages: [String] = []

    init(_ path: String) throws {
        self.path = path
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0)
    }

    deinit { close(descriptor) }

    func received() -> [String] {
        var bytes = [UInt8](repeating: 0, count: 4096)
        while case let count = recv(descriptor, &bytes, bytes.count, 0), count > 0 {
            messages.append(String(decoding: bytes[..<count], as: UTF8.self))
        }
        return messages
    }
}
