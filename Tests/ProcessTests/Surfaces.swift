import CommandLineSupport
import EventStreamServer
import Foundation
import TestSupport
import Testing

/// What a process shows over HTTP.
struct Surface: Sendable {
    let endpoint: MetricsEndpoint

    /// Of a process that was started with `EVT_METRICS_BIND=127.0.0.1:0`.
    init(of process: ChildProcess) async throws {
        endpoint = try await eventually("the metrics' endpoint") {
            process.output.split(separator: "\n").last { $0.contains("endpoint=http://") }.flatMap { line in
                line.split(separator: "endpoint=http://").last.flatMap { MetricsEndpoint(String($0.prefix { $0 != "/" })) }
            }
        }
    }

    func get(_ path: String) async throws -> HTTPFetch.Answer {
        try await HTTPFetch.get(path, from: endpoint, within: .seconds(20))
    }

    /// Every sample, by its name and labels as they are written.
    func samples() async throws -> [String: Double] {
        let answer = try await get("/metrics")
        try #require(answer.status == 200)
        var samples: [String: Double] = [:]
        for line in answer.body.split(separator: "\n") where !line.hasPrefix("#") {
            guard let space = line.lastIndex(of: " ") else { continue }
            samples[String(line[..<space])] = Double(line[line.index(after: space)...].lowercased()) ?? .nan
        }
        return samples
    }

    func isReady() async throws -> Bool { try await get("/readyz").status == 200 }
}

extension Deployment {
    /// Starts the four processes with their metrics on free ports, and waits until all are ready.
    func startObserved(
        _ more: [String: String] = [:]
    ) async throws -> (processes: [String: ChildProcess], surfaces: [String: Surface]) {
        let processes = try startRoles(more.merging(["EVT_METRICS_BIND": "127.0.0.1:0"]) { $1 })
        var surfaces: [String: Surface] = [:]
        for (name, process) in processes {
            let surface = try await Surface(of: process)
            try await eventually("\(name) to be ready") { try await surface.isReady() }
            surfaces[name] = surface
        }
        return (processes, surfaces)
    }
}

extension [String: Surface] {
    /// For EVT_METRICS_CONNECT.
    var endpoints: String { values.map(\.endpoint.description).sorted().joined(separator: ",") }
}
