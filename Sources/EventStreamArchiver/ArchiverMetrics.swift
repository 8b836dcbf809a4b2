import EventStream
import EventStreamServer
import Metrics

/// The archiver's figures.
struct ArchiverMetrics {
    private let events = Metric.archiverEvents.counter()
    private let commits = Metric.archiverCommit.durations()
    let lag = Metric.archiverLag.gauge()

    func archived(_ count: Int, since begun: MonotonicTime) {
        commits.record(.now - begun)
        events.add(count)
    }
}
