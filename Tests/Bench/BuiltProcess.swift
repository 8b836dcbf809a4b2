import CommandLineSupport
import Foundation

/// A program built beside this one, as users run it.
final class BuiltProcess: Sendable {
    private let name: String
    private let process: Process

    private init(_ name: String, _ settings: [String: String]) throws {
        self.name = name
        process = Process()
        process.executableURL = Bundle.main.executableURL!.deletingLastPathComponent().appending(path: name)
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("EVT_") }
        environment["EVT_LOG_LEVEL"] = "warning"
        environment["EVT_METRICS_BIND"] = ""
        environment.merge(settings) { $1 }
        process.environment = environment
        process.standardInput = FileHandle.nullDevice
        try withSignalsUnblocked { try process.run() }
    }

    /// Runs one while `body` runs.
    static func with<Value>(
        _ name: String, _ settings: [String: String], _ body: (BuiltProcess) async throws -> Value
    ) async throws -> Value {
        let process = try BuiltProcess(name, settings)
        let outcome: Result<Value, any Error>
        do {
            outcome = .success(try await body(process))
        } catch {
            outcome = .failure(error)
        }
        await process.stop()
        return try outcome.get()
    }

    private func stop() async {
        process.terminate()
        while process.isRunning { try? await Task.sleep(for: .milliseconds(10)) }
    }

    /// Fails if the process has ended by itself: what is waited for would never come.
    func check() throws {
        guard process.isRunning else { throw Failure("\(name) ended with status \(process.terminationStatus)") }
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

/// Why a row cannot be measured.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
