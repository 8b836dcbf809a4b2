import EventStream
import EventStreamServer
import Logging

/// A pusher at work, over ports: the process and the simulation of the tests run this same engine.
///
/// Belongs to one thread.
final class PusherEngine {
    let services: PusherServices
    /// Whom peers call.
    let calls: CallRouter
    private let follower: StreamFollower
    private let loop: any LoopPort
    private let drainTimeout: Duration

    /// - Parameter outbox: numbers the calls to peers.
    init(_ configuration: Pusher.Configuration, _ ports: PusherPorts, outbox: Outbox? = nil, logger: Logger) {
        (loop, drainTimeout) = (ports.loop, configuration.drainTimeout)
        services = PusherServices(configuration, ports, outbox: outbox ?? Outbox(ports.peers), logger: logger)
        let calls = CallRouter(
            .init(allowReliable: configuration.allowReliable, allowPolling: configuration.allowPolling), services)
        self.calls = calls
        follower = StreamFollower(services) { [weak calls] in calls?.ready() }
        services.ticker.onTick = { [weak self] in self?.tick(at: $0) }
    }

    func start() {
        services.head.delegate = follower
        services.membership.delegate = follower
        services.membership.heartbeat.delegate = follower
        services.membership.start()
        services.reads.start()
        services.head.start()
    }

    private func tick(at now: MonotonicTime) {
        services.sessions.tick(at: now, mayBeGivenUp: services.membership.heartbeat.mayBeGivenUp(at: now))
        services.live.tick(at: now)
    }

    // MARK: The end

    /// Starts no more groups, waits a while for the answers to those in flight, stores positions, gives sessions up.
    ///
    /// - Parameter silence: called once nothing is to be waited for: then peers are to be heard no more.
    func stop(silence: @escaping () -> Void = {}, _ completion: @escaping () -> Void) {
        services.deliveries.isStopping = true
        services.live.isStopping = true
        whenIdle(until: loop.now + drainTimeout) {
            silence()
            self.services.head.stop()
            self.services.sessions.stop()
            self.calls.stop()
            self.services.reads.stop()
            self.services.membership.stop {
                self.services.positions.stop()
                completion()
            }
        }
    }

    private func whenIdle(until deadline: MonotonicTime, _ completion: @escaping () -> Void) {
        guard services.table.reliable.contains(where: { !$0.machine.isIdle }), loop.now < deadline else {
            return completion()
        }
        loop.after(.milliseconds(10)) { self.whenIdle(until: deadline, completion) }
    }

    // MARK: What it shows

    /// Whether calls that need the database can be served.
    var isReady: Bool { services.isReady }

    /// Brings the gauges up to date.
    func collect(subscribers: Int) {
        services.metrics.show(services.table, subscribers: subscribers, gap: services.head.gap, at: loop.now)
    }

    /// The figures of consumers that were removed or renamed go.
    func forgetMetrics(but present: Set<String>, asOf time: MonotonicTime) {
        services.metrics.keep(only: present, asOf: time, isServed: services.isServed)
    }
}
