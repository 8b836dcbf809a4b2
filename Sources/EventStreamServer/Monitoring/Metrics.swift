import Metrics
import PosixLoop

/// A metric of the roles, by swift-metrics: `evt_<process>_<what>_<unit>[_total]`.
///
/// The names are for good: dashboards and alerts know them. `evt docs metrics` prints all of them.
package struct Metric: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable { case counter, gauge, histogram }

    package let kind: Kind
    package let name: String
    /// The names of its labels.
    package let labels: [String]
    /// Who has it.
    package let roles: [Role]
    /// What it tells, in words that stand alone.
    package let help: String

    package static func ready(_ role: Role) -> Metric {
        Metric(.gauge, "evt_\(role)_ready", of: [role], "Whether /readyz reports that the \(role) works: 1 or 0")
    }
    package static let reconnects = Metric(
        .counter, "evt_db_reconnects_total", of: Role.pipeline,
        "Attempts to connect to a database after a connection was lost or refused")
    package static let rejected = Metric(
        .counter, "evt_rejected_total", labels: ["reason"], of: [.generator, .pusher],
        "Calls answered with an error, by the name of the error")
    /// Counted where the log is written.
    package static let logDropped = Metric(
        .counter, "evt_log_dropped_total", "Lines dropped from the log because the reader of the log was too slow")

    package static let generatorEvents = Metric(
        .counter, "evt_generator_events_total", of: [.generator], "Events recorded for clients of the generator")
    package static let generatorCommit = Metric(
        .histogram, "evt_generator_commit_seconds", of: [.generator], "Duration of the generator's commits")
    package static let generatorWaiting = Metric(
        .gauge, "evt_generator_waiting_events", of: [.generator], "Events that wait for a commit of the generator")

    package static let pusherRead = Metric(
        .counter, "evt_pusher_events_read_total", of: [.pusher], "Events the pusher has read at the head of the stream")
    package static let pusherDelivered = Metric(
        .counter, "evt_pusher_events_delivered_total", labels: ["consumer"], of: [.pusher],
        "Events delivered to a consumer and confirmed by the consumer")
    package static let pusherLatency = Metric(
        .histogram, "evt_pusher_delivery_latency_seconds", labels: ["consumer"], of: [.pusher],
        "Time from when the first event of a group could be delivered until the group was confirmed, as far as clocks agree")
    package static let pusherInFlight = Metric(
        .gauge, "evt_pusher_in_flight_events", labels: ["consumer"], of: [.pusher],
        "Events sent to a consumer and not confirmed yet")
    package static let pusherSessions = Metric(
        .gauge, "evt_pusher_sessions", of: [.pusher], "Sessions of receivers, reliable and live")
    package static let pusherSubscribers = Metric(
        .gauge, "evt_pusher_subscribers", of: [.pusher], "Connections to the live broadcast")
    package static let pusherGaps = Metric(
        .gauge, "evt_pusher_gaps_open", of: [.pusher], "1 while events wait for an older open transaction, else 0")
    package static let pusherGapAge = Metric(
        .gauge, "evt_pusher_gap_age_seconds", of: [.pusher],
        "How long events have waited for an older open transaction; 0 if no events wait")
    package static let liveDropped = Metric(
        .counter, "evt_live_dropped_total", of: [.pusher],
        "Events dropped because a live receiver or subscriber was too slow")

    package static let lagEvents = Metric(
        .gauge, "evt_consumer_lag_events", labels: ["consumer"], of: [.pusher], "Events a consumer wants and has not confirmed")
    package static let lagSeconds = Metric(
        .gauge, "evt_consumer_lag_seconds", labels: ["consumer"], of: [.pusher],
        "How long the oldest event that a consumer wants and has not confirmed has waited; 0 if there is no such event")
    package static let heldEvents = Metric(
        .gauge, "evt_consumer_held_events", labels: ["consumer"], of: [.pusher],
        "Events after the position of a consumer, wanted or not, which are kept because of the consumer")
    package static let archiveIDs = Metric(
        .gauge, "evt_consumer_archive_ids", labels: ["consumer"], of: [.pusher],
        "How many ids the position of a consumer is below the discarded events, which are read from the archive for the consumer; "
            + "0 if the next event is in the active table")
    package static let parked = Metric(
        .gauge, "evt_consumer_parked_events", labels: ["consumer"], of: [.pusher],
        "Events that a consumer could not process and that are set aside")
    package static let served = Metric(
        .gauge, "evt_consumer_served", labels: ["consumer"], of: [.pusher],
        "1 while a pusher has a session for the consumer, else 0")
    package static let queueEvents = Metric(.gauge, "evt_queue_events", of: [.pusher], "Events in the active table")
    package static let queueBytes = Metric(
        .gauge, "evt_queue_bytes", of: [.pusher], "Bytes of data of the events in the active table")

    package static let archiverEvents = Metric(
        .counter, "evt_archiver_events_total", of: [.archiver], "Events copied into the warehouse")
    package static let archiverCommit = Metric(
        .histogram, "evt_archiver_commit_seconds", of: [.archiver], "Duration of the archiver's transactions in the warehouse")
    package static let archiverLag = Metric(
        .gauge, "evt_archiver_lag_events", of: [.archiver],
        "Events the archiver wants and has not confirmed, as counted by the pusher; NaN if unknown")

    package static let discarderEvents = Metric(
        .counter, "evt_discarder_events_total", of: [.discarder], "Events removed from the active table")
    package static let discarderRefused = Metric(
        .gauge, "evt_discarder_refused", of: [.discarder],
        "1 while confirmed events are kept because a required archive does not hold the same events, else 0")
    package static let discarderHeldEvents = Metric(
        .gauge, "evt_discarder_held_events", labels: ["consumer"], of: [.discarder],
        "Events that the slowest consumer keeps in the active table")
    package static let discarderHeldBytes = Metric(
        .gauge, "evt_discarder_held_bytes", labels: ["consumer"], of: [.discarder],
        "Bytes of data of the events that the slowest consumer keeps in the active table")
    package static let discarderHeldSince = Metric(
        .gauge, "evt_discarder_held_since_seconds", labels: ["consumer"], of: [.discarder],
        "When the oldest event that the slowest consumer keeps was recorded, in seconds since 1970; 0 if there is no such event")

    package static let relayEvents = Metric(
        .counter, "evt_relay_events_total", of: [.relay], "Events that the endpoint has taken")
    package static let relayRequests = Metric(
        .histogram, "evt_relay_request_seconds", of: [.relay], "Duration of the relay's requests")
    package static let relayFailures = Metric(
        .counter, "evt_relay_failures_total", labels: ["outcome"], of: [.relay],
        "Requests whose events were not taken: again, they are sent again after a pause; refused, the endpoint refuses the event; "
            + "standing, the relay stands still")
    package static let relayStanding = Metric(
        .gauge, "evt_relay_standing", of: [.relay],
        "1 while the relay stands still because of the endpoint's answers, such as 404, until somebody puts that right, else 0")

    package static let all =
        Role.allCases.map { ready($0) } + [
            reconnects, rejected, logDropped, generatorEvents, generatorCommit, generatorWaiting, pusherRead, pusherDelivered,
            pusherLatency, pusherInFlight, pusherSessions, pusherSubscribers, pusherGaps, pusherGapAge, liveDropped, lagEvents,
            lagSeconds, heldEvents, archiveIDs, parked, served, queueEvents, queueBytes, archiverEvents, archiverCommit,
            archiverLag,
            discarderEvents,
            discarderRefused, discarderHeldEvents, discarderHeldBytes, discarderHeldSince, relayEvents, relayRequests,
            relayFailures,
            relayStanding,
        ]

    private init(
        _ kind: Kind, _ name: String, labels: [String] = [], of roles: [Role] = Role.allCases, _ help: String
    ) {
        (self.kind, self.name, self.labels, self.roles, self.help) = (kind, name, labels, roles, help)
    }

    /// The unit of its values, by the end of the name; nil for a bare number.
    package var unit: String? { ["seconds", "bytes", "events"].first { name.split(separator: "_").contains(Substring($0)) } }

    // Handles; the parameters are the values of the labels.
    package func counter(_ values: String...) -> CounterMetric {
        CounterMetric(Counter(label: name, dimensions: dimensions(.counter, values)))
    }
    package func gauge(_ values: String...) -> GaugeMetric {
        GaugeMetric(Gauge(label: name, dimensions: dimensions(.gauge, values)))
    }
    package func durations(_ values: String...) -> DurationMetric {
        DurationMetric(Metrics.Timer(label: name, dimensions: dimensions(.histogram, values)))
    }

    private func dimensions(_ kind: Kind, _ values: [String]) -> [(String, String)] {
        precondition(kind == self.kind && values.count == labels.count, "\(name) is declared otherwise")
        return Array(zip(labels, values))
    }
}

// Handles of swift-metrics, whose own names mean other things here.

package struct CounterMetric: Sendable {
    private let counter: Counter
    fileprivate init(_ counter: Counter) { self.counter = counter }
    package func add(_ count: Int = 1) { counter.increment(by: count) }
    package func destroy() { counter.destroy() }
}

package struct GaugeMetric: Sendable {
    private let gauge: Gauge
    fileprivate init(_ gauge: Gauge) { self.gauge = gauge }
    /// - Parameter value: not a number where it is not known.
    package func set(_ value: Double) { gauge.record(value) }
    package func set(_ value: Int) { gauge.record(value) }
    package func destroy() { gauge.destroy() }
}

package struct DurationMetric: Sendable {
    private let timer: Metrics.Timer
    fileprivate init(_ timer: Metrics.Timer) { self.timer = timer }
    package func record(_ duration: Duration) {
        // What took longer than Int64 can say, 292 years, counts as that: an application may give its events any time.
        let (seconds, attoseconds) = duration.components
        let (whole, isTooLong) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, isTooMuch) = whole.addingReportingOverflow(attoseconds / 1_000_000_000)
        timer.recordNanoseconds(isTooLong || isTooMuch ? .max : sum)
    }
    package func destroy() { timer.destroy() }
}
