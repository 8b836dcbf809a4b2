import EventStream
import EventStreamServer

/// The relay's figures.
struct RelayMetrics: Sendable {
    private let events = Metric.relayEvents.counter()
    private let requests = Metric.relayRequests.durations()
    private let again = Metric.relayFailures.counter("again")
    private let refused = Metric.relayFailures.counter("refused")
    private let standing = Metric.relayFailures.counter("standing")
    private let isStanding = Metric.relayStanding.gauge()

    func ended(_ outcome: SinkOutcome, of count: Int, since begun: MonotonicTime) {
        requests.record(.now - begun)
        switch outcome {
        case .taken: events.add(count)
        case .again: again.add()
        case .refused: refused.add()
        case .standStill: standing.add()
        }
    }

    func collect(_ status: RelayStatus) { isStanding.set(status.isStanding ? 1 : 0) }
}
