import Metrics

/// A metric the roles keep, by swift-metrics: `evt_<process>_<what>_<unit>[_total]`.
///
/// The names are for good: dashboards and alerts know them.
public struct Metric: Hashable, Sendable {
    public let name: String
    /// What it tells, in words for people.
    public let help: String

    // Of every process.
    static let reconnects = Metric(
        "evt_db_reconnects_total", "Attempts to connect to a database again after a connection was lost or refused")
    public static func ready(_ role: Role) -> Metric {
        Metric("evt_\(role)_ready", "Whether /readyz says that the \(role) works: 1, or 0")
    }
    static let rejected = Metric("evt_rejected_total", "Calls answered with an error, by the error's name")

    /// Counted where the log is written.
    package static let logDropped = Metric(
        "evt_log_dropped_total", "Lines of the log that were dropped because whoever reads it did not take them in time")

    static let generatorEvents = Metric("evt_generator_events_total", "Events recorded for clients of the generator")
    static let generatorCommit = Metric("evt_generator_commit_seconds", "How long the generator's commits took")
    static let generatorWaiting = Metric("evt_generator_waiting_events", "Events that wait for a commit of the generator")

    static let pusherRead = Metric("evt_pusher_events_read_total", "Events the pusher has read at the head of the stream")
    static let pusherDelivered = Metric("evt_pusher_events_delivered_total", "Events delivered to a consumer and confirmed by it")
    static let pusherLatency = Metric(
        "evt_pusher_delivery_latency_seconds",
        "From when a group's first event could be delivered to the group's confirmation, as far as the clocks agree"
    )
    static let pusherInFlight = Metric("evt_pusher_in_flight_events", "Events sent to a consumer and not confirmed yet")
    static let pusherSessions = Metric("evt_pusher_sessions", "Sessions of receivers, reliable and live")
    static let pusherSubscribers = Metric("evt_pusher_subscribers", "Connections to the live broadcast")
    static let pusherGaps = Metric(
        "evt_pusher_gaps_open", "1 while events wait for an older transaction that is still open, else 0")
    static let pusherGapAge = Metric("evt_pusher_gap_age_seconds", "For how long they have been waiting; 0 if none are")
    static let liveDropped = Metric("evt_live_dropped_total", "Events dropped because a live receiver or subscriber was too slow")

    static let lagEvents = Metric(
        "evt_consumer_lag_events", "Events a consumer wants and has not confirmed; with keys a consumer is user:component")
    static let lagSeconds = Metric(
        "evt_consumer_lag_seconds",
        "How long the oldest event that a consumer wants and has not confirmed has waited; 0 if there is none")
    static let heldEvents = Metric(
        "evt_consumer_held_events", "Events after a consumer's position, wanted or not: they are kept because of it")
    static let served = Metric("evt_consumer_served", "1 while a pusher has a session for the consumer, else 0")
    static let queueEvents = Metric("evt_queue_events", "Events in the active table")
    static let queueBytes = Metric("evt_queue_bytes", "Bytes of their data")

    static let archiverEvents = Metric("evt_archiver_events_total", "Events copied into the warehouse")
    static let archiverCommit = Metric(
        "evt_archiver_commit_seconds", "How long the archiver's transactions in the warehouse took")
    static let archiverLag = Metric(
        "evt_archiver_lag_events", "Events the archiver wants and has not confirmed, as its pusher counts them; NaN if unknown")

    static let discarderEvents = Metric("evt_discarder_events_total", "Events removed from the active table")
    static let discarderRefused = Metric(
        "evt_discarder_refused", "1 while confirmed events are kept because a required archive does not hold them, else 0")
    static let discarderHeldEvents = Metric("evt_discarder_held_events", "Events that the slowest consumer keeps in the table")
    static let discarderHeldBytes = Metric("evt_discarder_held_bytes", "Bytes of their data")
    static let discarderHeldSince = Metric(
        "evt_discarder_held_since_seconds", "Since when the oldest of them waits, in seconds since 1970; 0 if there is none")

    /// All of them.
    public static let all =
        Role.allCases.map { ready($0) } + [
            reconnects, rejected, logDropped, generatorEvents, generatorCommit, generatorWaiting, pusherRead, pusherDelivered,
            pusherLatency,
            pusherInFlight, pusherSessions, pusherSubscribers, pusherGaps, pusherGapAge, liveDropped, lagEvents, lagSeconds,
            heldEvents, served, queueEvents, queueBytes, archiverEvents, archiverCommit, archiverLag, discarderEvents,
            discarderRefused, discarderHeldEvents, discarderHeldBytes, discarderHeldSince,
        ]

    private init(_ name: String, _ help: String) {
        self.name = name
        self.help = help
    }

    package func counter(_ labels: (String, String)...) -> CounterMetric {
        CounterMetric(Counter(label: name, dimensions: labels))
    }
    public func gauge(_ labels: (String, String)...) -> GaugeMetric { GaugeMetric(Gauge(label: name, dimensions: labels)) }
    func durations(_ labels: (String, String)...) -> DurationMetric {
        DurationMetric(Metrics.Timer(label: name, dimensions: labels))
    }
}

// Handles of swift-metrics, whose own names mean other things here.

package struct CounterMetric: Sendable {
    private let counter: Counter
    fileprivate init(_ counter: Counter) { self.counter = counter }
    package func add(_ count: Int = 1) { counter.increment(by: count) }
    func destroy() { counter.destroy() }
}

public struct GaugeMetric: Sendable {
    private let gauge: Gauge
    fileprivate init(_ gauge: Gauge) { self.gauge = gauge }
    /// - Parameter value: not a number where it is not known.
    public func set(_ value: Double) { gauge.record(value) }
    func set(_ value: Int) { gauge.record(value) }
    func destroy() { gauge.destroy() }
}

struct DurationMetric: Sendable {
    private let timer: Metrics.Timer
    fileprivate init(_ timer: Metrics.Timer) { self.timer = timer }
    func record(_ duration: Duration) {
        // What took longer than Int64 can say, 292 years, counts as that: an application may give its events any time.
        let (seconds, attoseconds) = duration.components
        let (whole, isTooLong) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, isTooMuch) = whole.addingReportingOverflow(attoseconds / 1_000_000_000)
        timer.recordNanoseconds(isTooLong || isTooMuch ? .max : sum)
    }
    func destroy() { timer.destroy() }
}
