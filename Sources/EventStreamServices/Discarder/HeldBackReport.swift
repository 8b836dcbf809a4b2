import EventStore
import Logging
import Metrics
import Postgres

/// Tells who keeps events in the active table: in metrics, and in a warning where it is too many.
///
/// Gauges: `evt_discarder_held_events`, `evt_discarder_held_bytes` and `evt_discarder_held_since_seconds` (Unix time of the
/// oldest one, 0 if there is none), of the slowest consumer, which is their label.
final class HeldBackReport {
    private let info: StreamInfo
    private let warnEvents: Int
    private let period: Duration
    private let logger: Logger
    private var nextAt: ContinuousClock.Instant?
    private var warnAt: ContinuousClock.Instant?
    private var gauges: (consumer: String, events: Gauge, bytes: Gauge, since: Gauge)?

    init(_ info: StreamInfo, warnEvents: Int, period: Duration, logger: Logger) {
        self.info = info
        self.warnEvents = warnEvents
        self.period = period
        self.logger = logger
    }

    deinit { forget() }

    /// Counts once a period, and so that counting many events takes no more than a hundredth of the time.
    func update(on connection: Connection) async throws {
        guard nextAt.map({ $0 <= .now }) ?? true else { return }
        let start = ContinuousClock.now
        let held: HeldBack?
        do {
            held = try await HeldBack.load(info, from: connection)
        } catch {
            guard connection.isOpen else { throw error }
            nextAt = .now + .seconds(60)
            return logger.warning("what consumers hold back could not be counted", metadata: [.error: "\(error)"])
        }
        nextAt = .now + max(min(period, .seconds(60)), (.now - start) * 100)
        guard let held else { return forget() }
        show(held)
        guard held.events > warnEvents, warnAt.map({ $0 <= .now }) ?? true else { return }
        warnAt = .now + .seconds(600)
        logger.warning(
            "a consumer holds events back: start its receiver, or remove it with `evt consumers remove`",
            metadata: [
                .consumer: "\(held.consumer)", .position: "\(held.position)", .events: "\(held.events)",
                "bytes": "\(held.bytes)", .since: "\(held.sinceText ?? "")",
            ])
    }

    private func show(_ held: HeldBack) {
        if gauges?.consumer != held.consumer {
            forget()
            func gauge(_ what: String) -> Gauge {
                Gauge(label: "evt_discarder_held_\(what)", dimensions: [("consumer", held.consumer)])
            }
            gauges = (held.consumer, gauge("events"), gauge("bytes"), gauge("since_seconds"))
        }
        gauges?.events.record(held.events)
        gauges?.bytes.record(held.bytes)
        gauges?.since.record(held.since ?? 0)
    }

    private func forget() {
        for gauge in [gauges?.events, gauges?.bytes, gauges?.since] { gauge?.destroy() }
        gauges = nil
    }
}
