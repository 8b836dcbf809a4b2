import CommandLineSupport
import Foundation
import TestSupport
import Testing

/// Several streams on one machine: a process says which one it serves.
@Suite struct ServedStreamTests {
    @Test func theDoctorDoesNotTakeAnotherStreamsProcessesForThisOnes() async throws {
        try await Deployment.with { other in
            try await Deployment.with { mine in
                for program in ["evt-generator", "evt-pusher", "evt-discarder"] {
                    let process = try other.start(program, [], ["EVT_METRICS_BIND": "127.0.0.1:0"])
                    let surface = try await Surface(of: process)
                    try await eventually("\(program)'s stream") { try await surface.get("/readyz").served != nil }
                    let foreign = try await mine.evt("doctor", "--metrics-connect", "\(surface.endpoint)")
                    #expect(
                        foreign.text.contains("what answers at \(surface.endpoint) serves another stream"),
                        "\(program): \(foreign.text)")
                    #expect(foreign.status != 0)
                    let own = try await other.evt("doctor", "--metrics-connect", "\(surface.endpoint)")
                    #expect(!own.text.contains("serves another stream"), "\(program): \(own.text)")
                    #expect(try await process.terminate().status == 0)
                }
            }
        }
    }
}
