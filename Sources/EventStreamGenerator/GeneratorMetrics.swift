import EventStream
import EventStreamServer

/// The generator's figures.
struct GeneratorMetrics {
    private let events = Metric.generatorEvents.counter()
    private let commits = Metric.generatorCommit.durations()
    let waiting = Metric.generatorWaiting.gauge()

    func recorded(_ count: Int, since begun: MonotonicTime) {
        commits.record(.now - begun)
        events.add(count)
    }
}
