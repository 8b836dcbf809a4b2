import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

/// Tells who keeps events in the active table: in metrics, and in a warning where it is too many; and who keeps none any more.
///
/// Gauges: `evt_discarder_held_events`, `evt_discarder_held_bytes` and `evt_discarder_held_since_seconds` (Unix time of the
/// oldest one, 0 if there is none), of the slowest consumer that holds any, which is their label.
final class HeldBackReport {
    private let info: StreamInfo
    private let rule: HoldRule
    private let warnEvents: Int
    private let period: Duration
    private let logger: Logger
    private let archiveReaders: ArchiveReaders
    private var nextAt: ContinuousClock.Instant?
    private var counting: HeldBackCount?
    private var askedAt: ContinuousClock.Instant?
    private var lastAt: ContinuousClock.Instant?
    private var warnAt: ContinuousClock.Instant?
    private var gauges: (consumer: String, events: GaugeMetric, bytes: GaugeMetric, since: GaugeMetric)?

    init(_ info: StreamInfo, _ rule: HoldRule, warnEvents: Int, period: Duration, logger: Logger) {
        self.info = info
        self.rule = rule
        self.warnEvents = warnEvents
        self.period = period
        self.logger = logger
        archiveReaders = ArchiveReaders(info, rule, period: period, logger: logger)
    }

    deinit { forget() }

    /// Begins to count once a period, and goes on a little with every call: for a hundredth of the time while events are
    /// recorded, for half of it while none are.
    ///
    /// - Parameter isStill: whether nobody is recording events, who might mind.
    func update(on connection: Connection, isStill: Bool) async throws {
        do {
            try await archiveReaders.update(on: connection)
            try await forgetIfRemoved(on: connection)
            if counting == nil {
                guard nextAt.map({ $0 <= .now }) ?? true else { return }
                nextAt = .now + min(period, .seconds(60))
                counting = try await HeldBackCount(info, rule, on: connection)
                if counting == nil { forget() }
            }
            let start = ContinuousClock.now
            let share = isStill ? 0.5 : 0.01
            let timeout = max(.microseconds(1), min(.milliseconds(200), (start - (lastAt ?? start)) * share))
            lastAt = start
            while counting != nil, .now - start < timeout {
                guard let held = try await counting?.step(on: connection) else { continue }
                counting = nil
                show(held)
                warn(of: held)
            }
        } catch {
            guard connection.isOpen else { throw error }
            (counting, nextAt) = (nil, .now + .seconds(60))
            logger.warning("what consumers hold back could not be counted", metadata: [.error: "\(error)"])
        }
    }

    /// The figures of a consumer that was removed or renamed go; what is kept now is counted anew.
    private func forgetIfRemoved(on connection: Connection) async throws {
        guard let gauges, askedAt.map({ .now - $0 >= .seconds(3) }) ?? true else { return }
        askedAt = .now
        guard try await !HeldBackCount.isRegistered(gauges.consumer, info, on: connection) else { return }
        forget()
        (counting, nextAt) = (nil, nil)
    }

    private func warn(of held: HeldBack) {
        guard held.events > warnEvents, warnAt.map({ $0 <= .now }) ?? true else { return }
        warnAt = .now + .seconds(600)
        logger.warning(
            "a consumer holds events back: start its receiver, or remove it with `evt consumers remove`",
            metadata: [
                .consumer: "\(held.consumer)", .position: "\(held.position)", .events: "\(held.events)",
                .bytes: "\(held.bytes)", .since: "\(held.sinceText ?? "")",
            ])
    }

    private func show(_ held: HeldBack) {
        if gauges?.consumer != held.consumer {
            forget()
            gauges = (
                held.consumer, Metric.discarderHeldEvents.gauge(held.consumer),
                Metric.discarderHeldBytes.gauge(held.consumer), Metric.discarderHeldSince.gauge(held.consumer)
            )
        }
        gauges?.events.set(held.events)
        gauges?.bytes.set(held.bytes)
        gauges?.since.set(held.since ?? 0)
    }

    private func forget() {
        for gauge in [gauges?.events, gauges?.bytes, gauges?.since] { gauge?.destroy() }
        gauges = nil
    }
}
