import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import PosixLoop

/// Backlog and lag as the tables have them, for metrics and for consumers that ask.
///
/// Looked up when somebody asks, over a connection of its own: at most once a second, and where there is much to count for at
/// most a tenth of the time; where a look takes more than a second and a half at most a quarter.
final class StreamFigures {
    private let database: DatabaseConfiguration
    private let loop: EventLoop
    private var askers: [() -> Void] = []
    private var looked: (at: MonotonicTime, took: Duration)?
    private var isLooking = false
    private var isStopped = false
    /// As they were when they were looked up last; nil if that failed.
    private(set) var status: StreamStatus?
    /// When that look began.
    private(set) var lookBegan: MonotonicTime?

    private let events = Metric.queueEvents.gauge()
    private let bytes = Metric.queueBytes.gauge()
    private var consumers: [String: [GaugeMetric]] = [:]

    init(_ database: DatabaseConfiguration, loop: EventLoop) {
        self.database = database
        self.loop = loop
        // Not known yet is not none: the first look may take longer than who asks waits.
        events.set(.nan)
        bytes.set(.nan)
    }

    /// Calls back when the figures are as new as they may be.
    func refresh(_ completion: @escaping () -> Void) {
        if isStopped || !isLooking && pause > .zero { return completion() }
        askers.append(completion)
        guard !isLooking else { return }
        isLooking = true
        loop.begin(with: self) { await $0.look() }
    }

    /// Calls back with figures that are newer than now: as soon as they may be looked up.
    func renew(_ completion: @escaping () -> Void) {
        // One that is under way may have begun before.
        guard !isStopped, !isLooking else {
            return isStopped ? completion() : askers.append { [weak self] in self?.renew(completion) }
        }
        loop.schedule(after: pause) { [weak self] in self?.refresh(completion) }
    }

    /// How long the present figures are good for.
    private var pause: Duration {
        looked.map { max(.zero, $0.at + min(max(.seconds(1), $0.took * 10), max(.seconds(15), $0.took * 3)) - .now) } ?? .zero
    }

    private func look() async {
        let begun = MonotonicTime.now
        do {
            let options = database.options(
                application: "evt-pusher figures", settings: ["statement_timeout": "60s", "lock_timeout": "3s"])
            let connection = try await Connection.open(options, on: loop)
            defer { connection.close() }
            status = try await StreamStatus.load(try await StreamInfo.load(database.tables, from: connection), from: connection)
        } catch {
            status = nil
        }
        lookBegan = begun
        guard !isStopped else { return status = nil }
        show()
        // What failed has cost the database little; new figures are wanted soon after.
        let took = MonotonicTime.now - begun
        (looked, isLooking) = ((.now, status == nil ? min(took, .seconds(1)) : took), false)
        tellAskers()
    }

    private func show() {
        events.set(status.map { Double($0.backlog.events) } ?? .nan)
        bytes.set(status.map { Double($0.backlog.bytes) } ?? .nan)
        let present = Set(status?.consumers.map(\.consumer) ?? [])
        for (consumer, gauges) in consumers where !present.contains(consumer) {
            for gauge in gauges { gauge.destroy() }
            consumers[consumer] = nil
        }
        for consumer in status?.consumers ?? [] {
            let gauges =
                consumers[consumer.consumer]
                ?? [Metric.lagEvents, .lagSeconds, .heldEvents, .archiveIDs, .parked, .served].map { $0.gauge(consumer.consumer) }
            consumers[consumer.consumer] = gauges
            let figures = [
                Double(consumer.lag.events), consumer.lag.seconds, Double(consumer.held.events), Double(consumer.archiveIDs),
                Double(consumer.parked), consumer.isServed ? 1 : 0,
            ]
            for (gauge, figure) in zip(gauges, figures) { gauge.set(figure) }
        }
    }

    /// Who asks has no figures from now on; a look that is under way is of no use any more.
    func stop() {
        isStopped = true
        status = nil
        for gauge in consumers.values.joined() { gauge.destroy() }
        consumers = [:]
        tellAskers()
    }

    private func tellAskers() {
        let ready = askers
        askers = []
        for asker in ready { asker() }
    }
}
