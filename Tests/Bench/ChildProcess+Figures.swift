import Foundation
import TestSupport

extension ChildProcess {
    /// Runs one of the built programs while `body` runs, without a word but of what goes wrong.
    static func quietly<Value>(
        _ program: String, _ settings: [String: String], _ body: (ChildProcess) async throws -> Value
    ) async throws -> Value {
        let environment = ["EVT_LOG_LEVEL": "warning", "EVT_METRICS_BIND": ""].merging(settings) { $1 }
        return try await with(program, environment: environment, body)
    }

    /// Megabytes of resident memory at the most so far.
    var peakMemory: Double {
        let status = (try? String(contentsOfFile: "/proc/\(id)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM") }
        return (line?.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0) / 1024
    }

    /// Processor time used so far, in seconds.
    var processorTime: Double {
        let stat = (try? String(contentsOfFile: "/proc/\(id)/stat", encoding: .utf8)) ?? ""
        let fields = stat.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}
