import CommandLineSupport
import Foundation

/// The built pusher, as users run it, on a port of its own.
final class PusherProcess: Sendable {
    private let process: Process
    let endpoint: String

    init(_ database: Database, _ settings: [String: String] = [:]) throws {
        endpoint = "tcp://127.0.0.1:\(Int.random(in: 20_000..<32_000))"
        process = Process()
        process.executableURL = Bundle.main.executableURL!.deletingLastPathComponent().appending(path: "evt-pusher")
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("EVT_") }
        environment.merge(
            [
                "EVT_DATABASE_URL": database.url, "EVT_PUSHER_BIND": endpoint, "EVT_LIVE_BIND": "",
                "EVT_LOG_LEVEL": "warning",
            ]) { $1 }
        environment.merge(settings) { $1 }
        process.environment = environment
        process.standardInput = FileHandle.nullDevice
        try withSignalsUnblocked { try process.run() }
    }

    /// Runs one while `body` runs.
    static func with<Value>(
        _ database: Database, _ settings: [String: String] = [:], _ body: (PusherProcess) async throws -> Value
    ) async throws -> Value {
        let pusher = try PusherProcess(database, settings)
        let outcome: Result<Value, any Error>
        do {
            outcome = .success(try await body(pusher))
        } catch {
            outcome = .failure(error)
        }
        await pusher.stop()
        return try outcome.get()
    }

    func stop() async {
        process.terminate()
        while process.isRunning { try? await Task.sleep(for: .milliseconds(10)) }
    }

    /// Megabytes of resident memory at the most so far.
    var peakMemory: Double {
        let status = (try? String(contentsOfFile: "/proc/\(process.processIdentifier)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM") }
        return (line?.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0) / 1024
    }

    /// Processor time used so far, in seconds.
    var processorTime: Double {
        let stat = (try? String(contentsOfFile: "/proc/\(process.processIdentifier)/stat", encoding: .utf8)) ?? ""
        let fields = stat.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}
