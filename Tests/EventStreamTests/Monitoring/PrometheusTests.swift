import CoreMetrics
import Prometheus
import Testing

/// The text that Prometheus reads.
@Suite struct PrometheusTests {
    private func lines(_ registry: PrometheusRegistry) -> [String] { registry.text().split(separator: "\n").map(String.init) }

    @Test func everyMetricIsShownWithWhatItMeansByName() {
        let registry = PrometheusRegistry(help: ["b_total": "Bees, \\ counted\nonce", "a": "Apples"])
        registry.makeCounter(label: "b_total", dimensions: [("hive", "x\"y\\z\n"), ("at", "home")]).increment(by: Int64(3))
        registry.makeRecorder(label: "a", dimensions: [], aggregate: false).record(Int64(7))
        #expect(
            lines(registry) == [
                "# HELP a Apples", "# TYPE a gauge", "a 7", "# HELP b_total Bees, \\\\ counted\\nonce", "# TYPE b_total counter",
                "b_total{hive=\"x\\\"y\\\\z\\n\",at=\"home\"} 3",
            ])
    }

    @Test func aCounterNeverGoesDown() {
        let registry = PrometheusRegistry()
        let counter = registry.makeCounter(label: "c_total", dimensions: [])
        counter.increment(by: Int64(5))
        counter.increment(by: Int64(-3))
        #expect(lines(registry).last == "c_total 5")
    }

    @Test func aGaugeMayBeUnknown() {
        let registry = PrometheusRegistry()
        let gauge = registry.makeRecorder(label: "g", dimensions: [], aggregate: false)
        for (value, text) in [(Double.nan, "NaN"), (.infinity, "+Inf"), (0.25, "0.25"), (1e300, "1e+300"), (-2, "-2")] {
            gauge.record(value)
            #expect(lines(registry).last == "g \(text)")
        }
    }

    @Test func aTimerIsAHistogramInSeconds() {
        let registry = PrometheusRegistry(buckets: ["t_seconds": [0.001, 1]])
        let timer = registry.makeTimer(label: "t_seconds", dimensions: [("who", "me")])
        // A bound belongs to its bucket.
        for nanoseconds in [1_000_000, 500_000_000, 2_000_000_000] { timer.recordNanoseconds(Int64(nanoseconds)) }
        #expect(
            lines(registry).dropFirst(2) == [
                "t_seconds_bucket{who=\"me\",le=\"0.001\"} 1", "t_seconds_bucket{who=\"me\",le=\"1\"} 2",
                "t_seconds_bucket{who=\"me\",le=\"+Inf\"} 3", "t_seconds_sum{who=\"me\"} 2.501", "t_seconds_count{who=\"me\"} 3",
            ])
    }

    @Test func handlesOfOneSeriesCountTogetherAndItLastsAsLongAsTheLast() {
        let registry = PrometheusRegistry()
        let (one, two) = (
            registry.makeCounter(label: "c_total", dimensions: []), registry.makeCounter(label: "c_total", dimensions: [])
        )
        one.increment(by: Int64(1))
        two.increment(by: Int64(2))
        registry.destroyCounter(one)
        #expect(lines(registry).last == "c_total 3")
        registry.destroyCounter(two)
        #expect(registry.text().isEmpty)
    }

    @Test func theNumberOfSeriesIsBounded() {
        let registry = PrometheusRegistry(seriesLimit: 2)
        for name in ["a", "b", "c", "d"] {
            registry.makeCounter(label: "c_total", dimensions: [("k", name)]).increment(by: Int64(1))
            registry.makeRecorder(label: "g", dimensions: [("k", name)], aggregate: false).record(Int64(1))
        }
        #expect(
            lines(registry).filter { !$0.hasPrefix("#") } == [
                "c_total{k=\"a\"} 1", "c_total{k=\"b\"} 1", "c_total{k=\"other\"} 2", "g{k=\"a\"} 1", "g{k=\"b\"} 1",
            ])
    }

    @Test func oneNameHasOneKind() {
        let registry = PrometheusRegistry()
        registry.makeCounter(label: "x", dimensions: []).increment(by: Int64(1))
        registry.makeTimer(label: "x", dimensions: []).recordNanoseconds(1)
        #expect(lines(registry) == ["# HELP x ", "# TYPE x counter", "x 1"])
    }

    @Test func manyThreadsLoseNothing() async {
        let registry = PrometheusRegistry()
        await withDiscardingTaskGroup { group in
            for worker in 0..<8 {
                group.addTask {
                    for _ in 0..<1000 {
                        let counter = registry.makeCounter(label: "c_total", dimensions: [])
                        counter.increment(by: Int64(1))
                        registry.makeTimer(label: "t_seconds", dimensions: [("w", "\(worker % 2)")]).recordNanoseconds(1)
                    }
                }
            }
        }
        #expect(lines(registry).contains("c_total 8000"))
        #expect(lines(registry).contains("t_seconds_count{w=\"1\"} 4000"))
    }
}
