import EventStream
import EventStreamServer
import Glibc

/// What the pusher counts and measures; each metric is declared in ``Metric``.
final class PusherMetrics {
    struct OfConsumer {
        let delivered: CounterMetric
        let latency: DurationMetric
        let inFlight: GaugeMetric
        /// When it was last served, as far as is known.
        fileprivate var usedAt = MonotonicTime.now

        fileprivate init(_ consumer: ConsumerIdentity) {
            let label = consumer.description
            delivered = Metric.pusherDelivered.counter(label)
            latency = Metric.pusherLatency.durations(label)
            inFlight = Metric.pusherInFlight.gauge(label)
        }

        fileprivate func destroy() {
            delivered.destroy()
            latency.destroy()
            inFlight.destroy()
        }
    }

    let read = Metric.pusherRead.counter()
    let liveDropped = Metric.liveDropped.counter()
    private let sessions = Metric.pusherSessions.gauge()
    private let subscribers = Metric.pusherSubscribers.gauge()
    private let gaps = Metric.pusherGaps.gauge()
    private let gapAge = Metric.pusherGapAge.gauge()
    private var consumers: [ConsumerIdentity: OfConsumer] = [:]

    /// Consumers whose figures are kept after their sessions have ended, at most.
    private static let kept = 1000

    /// - Parameter isServed: whether there is a session for a consumer; the others' figures are dropped where there are too many.
    func of(_ consumer: ConsumerIdentity, isServed: (ConsumerIdentity) -> Bool) -> OfConsumer {
        consumers[consumer]?.usedAt = .now
        if let known = consumers[consumer] { return known }
        if consumers.count >= PusherMetrics.kept {
            for (other, figures) in consumers where !isServed(other) {
                figures.destroy()
                consumers[other] = nil
            }
        }
        let figures = OfConsumer(consumer)
        consumers[consumer] = figures
        return figures
    }

    /// Drops the figures of those that there are no more.
    ///
    /// - Parameter time: when those that are present were looked up; who was served since may have been registered since.
    func keep(only present: Set<String>, asOf time: MonotonicTime, isServed: (ConsumerIdentity) -> Bool) {
        for (consumer, figures) in consumers where figures.usedAt < time && !present.contains(consumer.description) {
            guard !isServed(consumer) else { continue }
            figures.destroy()
            consumers[consumer] = nil
        }
    }

    /// Brings the gauges up to date.
    func show(_ table: SessionTable, subscribers count: Int, gap: SettledHorizon.Gap?, at now: MonotonicTime) {
        sessions.set(table.count)
        subscribers.set(count)
        gaps.set(gap == nil ? 0 : 1)
        gapAge.set(gap.map { ($0.age(at: now) / .seconds(1)) } ?? 0)
        for (consumer, figures) in consumers {
            figures.inFlight.set(table.reliable(consumer)?.machine.delivery.eventsInFlight ?? 0)
        }
    }
}

extension SettledHorizon.Gap {
    func age(at now: MonotonicTime) -> Duration { max(.zero, now - openedAt) }
}
