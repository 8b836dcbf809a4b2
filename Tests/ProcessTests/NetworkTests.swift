import Foundation
import TestSupport
import Testing

extension FaultTests {
    /// The network between the processes, and between them and PostgreSQL, fails in every way there is.
    @Suite struct NetworkTests {
        /// At both ends within a few seconds, instead of the half minute that is standard.
        private static let impatient = """
            keepalives_idle=1 keepalives_interval=1 keepalives_count=2 tcp_user_timeout=2000 connect_timeout=2 \
            options='-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2 -c tcp_user_timeout=2000'
            """

        @Test func everyProcessComesBackWhenItsWayToPostgreSQLDoes() async throws {
            try await Deployment.with { deployment in
                let proxy = try Proxy(to: await UInt16(TestDatabase.number("SELECT inet_server_port()", on: deployment.active)))
                let far = { (url: String) in "\(url) port=\(proxy.port) \(Self.impatient)" }
                let processes = try deployment.startRoles([
                    "EVT_DATABASE_URL": far(deployment.active), "EVT_ARCHIVE_URL": far(deployment.warehouse),
                    "EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_SESSION_TIMEOUT": "3s",
                ])
                try await PersistentReceiver.following(deployment) { receiver in
                    let load = WriterLoad(writers: 2, seed: 3, largest: 5, idle: 50)
                    try await load.run(on: deployment.active) {
                        for mode in [Proxy.Mode.silent, .stuck, .refusing] {
                            try await deployment.goesOn(receiver, "before \(mode)")
                            try await eventually("the archiver") { try await deployment.archived() > 0 }
                            let lines = processes.mapValues { $0.output.split(separator: "\n").count }
                            try proxy.set(mode)
                            // Until nobody holds on to a connection, except where nothing tells them that it is useless.
                            if mode != .stuck { try await Self.noticed(by: processes, after: lines) }
                            let newest = try await deployment.record("AWAY")
                            #expect(await receiver.log.newest < newest)
                            try proxy.set(.passing)
                            try await deployment.goesOn(receiver, "after \(mode)")
                        }
                    }
                }
                try await deployment.checkArchive()
                try await eventually("the discard") { try await deployment.backlog() == 0 }
                processes.expectLog(lines: 100)
                try await processes.stop()
            }
        }

        @Test func aReceiverGoesToAnotherPusherWhenItsWayToOneIsGone() async throws {
            try await Deployment.with { deployment in
                var processes: [String: ChildProcess] = [:]
                var proxies: [Proxy] = []
                for name in ["one", "other"] {
                    let port = PrivateCluster.freePort()
                    processes[name] = try deployment.start(
                        "evt-pusher", [],
                        ["EVT_PUSHER_BIND": "tcp://127.0.0.1:\(port)", "EVT_LIVE_BIND": "", "EVT_SESSION_TIMEOUT": "2s"])
                    proxies.append(try Proxy(to: port))
                }
                let endpoints = proxies.map { "tcp://127.0.0.1:\($0.port)" }
                try await PersistentReceiver.following(deployment, at: endpoints) { receiver in
                    let load = WriterLoad(writers: 2, seed: 4, largest: 5, idle: 50)
                    try await load.run(on: deployment.active) {
                        try await deployment.goesOn(receiver, "at first")
                        for (round, mode) in [Proxy.Mode.silent, .stuck, .refusing, .silent].enumerated() {
                            try proxies[round % 2].set(mode)
                            try proxies[1 - round % 2].set(.passing)
                            // Only one way is left.
                            try await deployment.goesOn(receiver, "while one way is \(mode)")
                        }
                    }
                }
                processes.expectLog(lines: 60)
                try await processes.stop()
            }
        }

        @Test(arguments: [Proxy.Mode.silent, .stuck]) func aReceiverThatIsGoneLosesItsConsumerToTheNext(mode: Proxy.Mode)
            async throws
        {
            try await Deployment.with { deployment in
                let port = PrivateCluster.freePort()
                let pusher = try deployment.start(
                    "evt-pusher", [], ["EVT_PUSHER_BIND": "tcp://127.0.0.1:\(port)", "EVT_SESSION_TIMEOUT": "2s"])
                let proxy = try Proxy(to: port)
                let first = PersistentReceiver("FOLLOWER", at: ["tcp://127.0.0.1:\(proxy.port)"])
                let next = PersistentReceiver("FOLLOWER", at: ["tcp://127.0.0.1:\(port)"])
                try await first.start()
                let load = WriterLoad(writers: 2, seed: 5, largest: 5, idle: 50)
                try await load.run(on: deployment.active) {
                    try await deployment.goesOn(first, "at first")
                    try proxy.set(mode)
                    try await next.start()
                    try await deployment.goesOn(next, "in place of the one that is gone")
                    await next.stop()
                    try proxy.set(.passing)
                    try await deployment.goesOn(first, "when it is back")
                }
                let newest = try await deployment.newest()
                try await eventually("the last event") { await first.log.newest == newest }
                let received = await Set(first.log.firstOccurrences).union(next.log.firstOccurrences)
                let committed = try await TestDatabase.rows("SELECT id FROM evt_queue", on: deployment.active).map {
                    Int($0[0]!)!
                }
                #expect(Set(committed).subtracting(received) == [])
                #expect(await first.log.wentBack + next.log.wentBack == [])
                await first.stop()
                #expect(try await pusher.terminate().status == 0)
            }
        }

        private static func noticed(by processes: [String: ChildProcess], after lines: [String: Int]) async throws {
            for (name, process) in processes {
                try await eventually("\(name)'s word about it") {
                    process.output.split(separator: "\n").dropFirst(lines[name]!).contains {
                        $0.contains(" WARNING ") || $0.contains(" ERROR ")
                    }
                }
            }
        }
    }
}
