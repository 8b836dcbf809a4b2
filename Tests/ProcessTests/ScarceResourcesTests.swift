import EventStreamClient
import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

extension FaultTests {
    /// A process may open few files, or has little memory.
    @Suite struct ScarceResourcesTests {
        @Test(arguments: Deployment.roles, [63, 12])
        func aProcessThatMayOpenTooFewFilesSaysSo(role: String, limit: Int) async throws {
            try await Deployment.with { deployment in
                let end = try await deployment.limited("ulimit -n \(limit)", role).ended()
                #expect(end.status == 1)
                #expect(end.text.contains("too few files may be open at once"), "\(end.text)")
            }
        }

        @Test func aCrowdOfPeersLeavesThePusherEnoughToGoOn() async throws {
            try await Deployment.with { deployment in
                let port = PrivateCluster.freePort()
                let endpoint = "tcp://127.0.0.1:\(port)"
                let pusher = try deployment.limited("ulimit -n 64", "evt-pusher", ["EVT_PUSHER_BIND": endpoint])
                try await PersistentReceiver.following(deployment, at: [endpoint]) { receiver in
                    try await deployment.goesOn(receiver, "at first")
                    let crowd = Crowd(of: 200, at: port)
                    try await eventually("a word about them") { pusher.output.contains("peers are turned away") }
                    // It needs new connections to the database, in spite of those who wait for each that becomes free.
                    for _ in 0..<3 {
                        try await TestDatabase.execute(
                            """
                            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                            WHERE datname = current_database() AND application_name LIKE 'evt-pusher%'
                            """, on: deployment.active)
                        try await deployment.goesOn(receiver, "beside the crowd")
                    }
                    #expect(
                        pusher.output.split(separator: "\n").filter { $0.contains("turned away") }.count < 3 + 2
                            * pusher.secondsOfLog)
                    withExtendedLifetime(crowd) {}
                }
                #expect(try await pusher.terminate().status == 0)
            }
        }

        /// How much memory a process needs nobody knows beforehand: it ends when it gets no more, and the next one goes on.
        @Test func whatAPusherWithoutMemoryLeavesTheNextOneDelivers() async throws {
            try await Deployment.with { deployment in
                try await PersistentReceiver.following(deployment) { receiver in
                    for megabytes in [165, 215, 265] {
                        let pusher = try deployment.limited("ulimit -c 0; ulimit -v \(megabytes * 1024)", "evt-pusher")
                        try await TestDatabase.execute(
                            "SELECT evt_add('LARGE', to_json(repeat('x', 1000000))) FROM generate_series(1, 20)",
                            on: deployment.active)
                        let newest = try await deployment.newest()
                        try await eventually("its end, or its work done") {
                            if !pusher.isRunning { return true }
                            return await receiver.log.newest == newest
                        }
                        pusher.signal(SIGKILL)
                        _ = try await pusher.ended()
                    }
                    let pusher = try deployment.start("evt-pusher")
                    try await deployment.goesOn(receiver, "with enough memory")
                    #expect(try await pusher.terminate().status == 0)
                }
            }
        }
    }
}

extension Deployment {
    /// Starts a program under the limits that a command of the shell sets.
    fileprivate func limited(_ command: String, _ program: String, _ more: [String: String] = [:]) throws -> ChildProcess {
        // Who would write a backtrace gets no memory either, does not end, and hides the end of the program.
        let quiet = ["SWIFT_BACKTRACE": "enable=no"]
        return try start(
            "/bin/bash", ["-c", "\(command); exec \(ChildProcess.binaries)/\(program)"], more.merging(quiet) { mine, _ in mine })
    }
}

/// Connections that ask for nothing, and are made again when they are closed.
private final class Crowd {
    private let isOver = Flag()

    private final class Flag: Sendable {
        let value = Mutex(false)
    }

    init(of count: Int, at port: UInt16) {
        // A thread of its own: connecting blocks.
        Thread.detachNewThread { [isOver] in
            var sockets: [Int32] = []
            defer { for socket in sockets { close(socket) } }
            while !isOver.value.withLock({ $0 }) {
                sockets = sockets.filter { socket in
                    var byte: UInt8 = 0
                    // Zero: closed by the pusher.
                    guard recv(socket, &byte, 1, Int32(MSG_DONTWAIT) | Int32(MSG_PEEK)) == 0 else { return true }
                    close(socket)
                    return false
                }
                while sockets.count < count, let socket = Proxy.connected(to: port) { sockets.append(socket) }
                usleep(50_000)
            }
        }
    }

    deinit { isOver.value.withLock { $0 = true } }
}
