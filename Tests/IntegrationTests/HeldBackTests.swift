import CoreMetrics
import EventStream
import MetricsTestKit
import TestSupport
import Testing

/// Who keeps events in the active table, as metrics.
@Suite(.serialized) struct HeldBackTests {
    private static let metrics: TestMetrics = {
        let metrics = TestMetrics()
        MetricsSystem.bootstrap(metrics)
        return metrics
    }()

    @Test func theSlowestConsumerIsShown() async throws {
        let metrics = Self.metrics
        // Other suites' discarders have gauges as well.
        let (slow, fast) = ("SLOW\(UInt32.random(in: 0...99_999))", "FAST\(UInt32.random(in: 0...99_999))")
        func gauge(_ what: String, _ consumer: String) -> Double? {
            try? metrics.expectGauge("evt_discarder_held_\(what)", [("consumer", "local:\(consumer)")]).lastValue
        }
        try await Pipeline.with([]) { pipeline in
            try await pipeline.record("HELD", ["1", "22", "333", "4444"])
            try await TestDatabase.execute(
                "INSERT INTO evt_consumers (ident, last_evt_id) VALUES ('local:\(slow)', 1), ('local:\(fast)', 4)",
                on: pipeline.active)
            try await pipeline.run([.discarder]) {
                let oldest = try await TestDatabase.number(
                    "SELECT floor(EXTRACT(EPOCH FROM ts))::bigint FROM evt_queue WHERE id = 2", on: pipeline.active)
                // They are set one after the other.
                try await eventually("the figures") {
                    gauge("events", slow) == 3 && gauge("bytes", slow) == 9
                        && gauge("since_seconds", slow).map { Int($0) } == oldest
                }
                #expect(gauge("events", fast) == nil)
                try await TestDatabase.execute(
                    "UPDATE evt_consumers SET last_evt_id = 4 WHERE ident = 'local:\(slow)'", on: pipeline.active)
                try await eventually("nothing held") { gauge("events", fast) == 0 || gauge("events", slow) == 0 }
            }
        }
    }
}
