import CommandLineSupport
import EventStreamServer
import Foundation
import Glibc
import TestSupport
import Testing

/// Whoever reads a process's log may stop reading it: that is no reason to stop.
@Suite(.serialized) struct LogPipeTests {
    /// A named pipe that is full already, as one that another process has written to: the next line written to it waits.
    private final class FullPipe: Sendable {
        let path: String
        private let descriptor: Int32

        init(in directory: String) throws {
            path = "\(directory)/stderr"
            try #require(mkfifo(path, 0o600) == 0)
            descriptor = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
            try #require(descriptor >= 0)
            let blanks = [UInt8](repeating: 0x0A, count: 4096)
            while write(descriptor, blanks, blanks.count) > 0 {}
            while write(descriptor, blanks, 1) > 0 {}
        }

        deinit { close(descriptor) }

        /// What is in it now.
        func read() -> String {
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = Glibc.read(descriptor, &buffer, buffer.count)
                guard count > 0 else { break }
                bytes += buffer.prefix(count)
            }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    private func start(_ program: String, _ deployment: Deployment, log: FullPipe, _ more: [String: String]) throws
        -> ChildProcess
    {
        let command = "exec \"$0\" 2>\"$1\""
        var settings = deployment.environment.merging(more) { $1 }
        settings["EVT_DATABASE_URL"] = TestDatabase.url(deployment.active, as: .pusher)
        return try ChildProcess(
            "/bin/bash", ["-c", command, "\(ChildProcess.binaries)/\(program)", log.path], environment: settings)
    }

    /// Each is told in a line of its own: more of them than find room.
    private func misspelt(_ count: Int, in directory: String) throws -> String {
        let path = "\(directory)/settings"
        let lines = (0..<count).map { "EVT_MISSPELT_\(10_000 + $0)_\(String(repeating: "X", count: 100))=1\n" }
        try Data(lines.joined().utf8).write(to: URL(filePath: path))
        return path
    }

    @Test func eventsFlowWhileNobodyReadsTheLogAndWhatWasDroppedIsCountedAndToldLater() async throws {
        try await Deployment.with { deployment in
            let pipe = try FullPipe(in: deployment.directory)
            let metrics = "127.0.0.1:\(PrivateCluster.freePort())"
            let pusher = try start(
                "evt-pusher", deployment, log: pipe,
                ["EVT_ENV_FILE": try misspelt(10_000, in: deployment.directory), "EVT_METRICS_BIND": metrics])
            try await PersistentReceiver.following(deployment) { receiver in
                for round in 0..<3 { try await deployment.goesOn(receiver, "in round \(round)") }
            }
            // The process answers polls, and says how much of its log is lost.
            #expect(try await deployment.evt("poll", "LIVE").status == 0)
            let endpoint = try #require(MetricsEndpoint(metrics))
            let dropped = try await eventually("the metric") {
                let text = try await HTTPFetch.get("/metrics", from: endpoint, within: .seconds(20)).body
                return text.split(separator: "\n").first { $0.hasPrefix("evt_log_dropped_total ") }.flatMap {
                    Int(Double($0.split(separator: " ")[1]) ?? 0)
                }
            }
            #expect(dropped > 1000)
            var log = ""
            try await eventually("the line about what was dropped") {
                log += pipe.read()
                return log.contains("lines of the log were dropped")
            }
            let numbers = log.matches(of: /EVT_MISSPELT_(\d+)/).map { Int($0.1)! }
            #expect(numbers == (0..<numbers.count).map { 10_000 + $0 } && numbers.count > 1000)
            let told = try #require(log.firstMatch(of: /lines of the log were dropped.* lines=(\d+)/))
            #expect(Int(told.1)! >= 10_000 - numbers.count)
            // From now on somebody reads, and the end is told as ever.
            pusher.signal(SIGTERM)
            try await eventually("the last line") {
                log += pipe.read()
                return log.contains("stopped")
            }
            #expect(try await pusher.ended().status == 0)
        }
    }

    @Test func aProcessWhoseLogNobodyReadsEndsWhenItIsTold() async throws {
        try await Deployment.with { deployment in
            let pipe = try FullPipe(in: deployment.directory)
            let pusher = try start("evt-pusher", deployment, log: pipe, [:])
            try await PersistentReceiver.following(deployment) { receiver in
                try await deployment.goesOn(receiver, "before")
            }
            #expect(try await pusher.terminate().status == 0)
        }
    }
}
