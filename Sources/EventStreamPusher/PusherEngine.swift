import EventStream
import EventStreamDatabase
import EventStreamServer
import Logging

/// The pusher's work: wires its parts together, over ports. The process and the simulation of the tests run this same engine.
///
/// Belongs to one thread.
final class PusherEngine {
    private let ports: PusherPorts
    private let drainTimeout: Duration
    let stream: SharedStream
    private let metrics = PusherMetrics()
    let positions: PositionWriter
    package let services: CallRouter.Services
    private let calls: CallRouter
    private var hasStarted = false

    /// - Parameter outbox: numbers the calls to peers.
    init(_ configuration: Pusher.Configuration, _ ports: PusherPorts, outbox: Outbox? = nil, logger: Logger) {
        self.ports = ports
        drainTimeout = configuration.drainTimeout
        stream = SharedStream(byteLimit: configuration.windowBytes)
        let (loop, table, outbox) = (ports.loop, SessionTable(), outbox ?? Outbox(ports.peers))
        let head = HeadDriver(configuration.head, ports.head, loop: loop, logger: logger)
        let membership = Membership(ports, sessionTimeout: configuration.sessionTimeout, logger: logger)
        positions = PositionWriter(membership, loop: loop, logger: logger)
        let turns = CallTurns(loop: loop)
        let ticker = SessionTicker(
            table, loop: loop,
            longest: min(.seconds(1), configuration.sessionTimeout / 20, configuration.delivery.ackTimeout / 5))
        let deliveries = DeliveryDriver(
            configuration.groupLimits, loop: loop, stream: stream, table: table, outbox: outbox, membership: membership,
            positions: positions, metrics: metrics, ticker: ticker, logger: logger)
        let sessions = SessionDriver(
            .init(
                timeout: configuration.sessionTimeout, delivery: configuration.delivery, groupLimits: configuration.groupLimits),
            loop: loop, head: head, table: table, outbox: outbox, membership: membership, positions: positions,
            deliveries: deliveries, ticker: ticker, logger: logger)
        let claims = ClaimDriver(
            userLimit: configuration.limits.userSessions, loop: loop, head: head, table: table, outbox: outbox,
            membership: membership, positions: positions, sessions: sessions, turns: turns)
        let live = LiveDriver(
            .init(
                timeout: configuration.sessionTimeout, groupLimits: configuration.groupLimits,
                delivery: .init(
                    requestMax: configuration.delivery.requestMax, queueMax: configuration.queueMax,
                    ackTimeout: configuration.delivery.ackTimeout)),
            loop: loop, stream: stream, head: head, table: table, outbox: outbox, membership: membership, sessions: sessions,
            claims: claims, turns: turns, ticker: ticker, metrics: metrics)
        services = CallRouter.Services(
            head: head, membership: membership, table: table, sessions: sessions, deliveries: deliveries, claims: claims,
            live: live,
            polls: PollDriver(
                maxChunkEvents: configuration.maxChunkEvents, loop: loop, head: head, peers: ports.peers,
                membership: membership, turns: turns),
            lag: LagCalls(ports.figures, peers: ports.peers),
            archive: ArchiveCalls(
                ports.archive, loop: loop, head: head, table: table, peers: ports.peers, turns: turns),
            turns: turns)
        calls = CallRouter(
            .init(
                allowReliable: configuration.allowReliable, allowPolling: configuration.allowPolling,
                userConsumers: configuration.limits.userConsumers), loop: loop, peers: ports.peers, services)
        deliveries.onUnreachable = { [weak sessions] in sessions?.disconnected($0) }
        positions.onFenced = { [weak sessions] in sessions?.fenced($0, epoch: $1) }
        ticker.onTick = { [weak self] in self?.tick(at: $0) }
    }

    func start() {
        services.head.delegate = self
        services.membership.delegate = self
        services.membership.heartbeat.delegate = self
        services.membership.start()
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
        whenIdle(until: ports.loop.now + drainTimeout) {
            silence()
            self.services.head.stop()
            self.services.sessions.stop()
            self.calls.stop()
            self.services.membership.stop {
                self.positions.stop()
                completion()
            }
        }
    }

    private func whenIdle(until deadline: MonotonicTime, _ completion: @escaping () -> Void) {
        guard services.table.reliable.contains(where: { !$0.machine.isIdle }), ports.loop.now < deadline else {
            return completion()
        }
        ports.loop.after(.milliseconds(10)) { self.whenIdle(until: deadline, completion) }
    }

    // MARK: What it shows

    /// Whether calls that need the database can be served.
    var isReady: Bool { calls.isReady }

    /// Brings the gauges up to date.
    func collect(subscribers: Int) {
        metrics.show(services.table, subscribers: subscribers, gap: services.head.gap, at: ports.loop.now)
    }

    /// The figures of consumers that were removed or renamed go.
    func forgetMetrics(but present: Set<String>, asOf time: MonotonicTime) {
        metrics.keep(only: present, asOf: time, isServed: isServed)
    }

    func liveEventsDropped(_ count: Int) { metrics.liveDropped.add(count) }
}

// MARK: What peers do

extension PusherEngine {
    func received(_ call: Call, rid: RequestID?, from peer: Peer) { calls.received(call, rid: rid, from: peer) }
    func heard(_ peer: Peer) { services.sessions.heard(peer) }
    func disconnected(_ identity: [UInt8]) { services.sessions.disconnected(identity) }
    func revoked(_ identity: [UInt8]) { services.sessions.revoked(identity) }

    /// - Returns: whether it answers something.
    func answered(_ response: WireMessage.Response, by peer: Peer) -> Bool {
        guard response.rid?.contents.first == UInt8(ascii: "S"), let rid = response.rid?.number else { return false }
        let own = services.table.sessions(of: peer.identity).filter { $0.peer.caller.isSameUser(as: peer.caller) }
        return own.map { session in
            switch session {
            case let session as ReliableSession: services.deliveries.answered(session, rid, response.outcome)
            case let session as LiveSession: services.live.answered(session, rid)
            default: false
            }
        }.contains(true)
    }
}

// MARK: What the database shows

extension PusherEngine: HeadDelegate, MembershipDelegate, HeartbeatDelegate {
    func headStarted(_ identity: GenerationStore.Identity, at position: EventID, isAnew: Bool) {
        if isAnew { beginAnew(after: position) }
        services.membership.trust(identity, isAnew: isAnew)
        databaseOpened()
    }

    /// The stream is another than before, or this is the start: nothing that was read or confirmed means anything any more.
    private func beginAnew(after position: EventID) {
        services.table.removeAll()
        services.polls.beginAnew()
        positions.beginAnew()
        stream.begin(after: position)
        // What was loaded before anything was known is of this one.
        if hasStarted { stream.times = SettledTimes() }
        hasStarted = true
    }

    func headRead(_ page: EventPage) {
        metrics.read.add(page.count)
        let age = services.head.watch.lookedBefore.map { ports.loop.now - $0 }
        stream.append(page, age: age, at: ports.loop.wallClock)
        ports.broadcast?.send(page)
        services.live.arrived(page)
        pumpAll()
    }

    private func pumpAll() {
        services.deliveries.pumpAll()
        services.live.pumpAll()
    }

    func headLost() { services.membership.distrust() }

    func databaseOpened() {
        positions.flush()
        pumpAll()
        if isReady { calls.ready() }
    }

    func databaseDisagrees(_ reason: String) { services.head.lookAgain(because: reason) }

    /// What pushers have noted of when the stream was settled.
    func marksLoaded(_ marks: [SettledMark]) { stream.times.loaded(marks) }

    var settled: EventID { services.head.settled ?? .none }
    var sinceLook: Duration? { services.head.watch.lookedAt.map { ports.loop.now - $0 } }

    var sessionsServed: [(ConsumerIdentity, epoch: Int64)] {
        services.table.reliable.filter { !$0.machine.isReleased }.map { ($0.consumer, $0.machine.epoch) }
    }

    func isServed(_ consumer: ConsumerIdentity) -> Bool {
        services.table.reliable(consumer) != nil || services.claims.isUnderWay(consumer)
    }

    func settledStored(_ settled: EventID) { services.head.stored(settled) }
    func fenced(_ consumer: ConsumerIdentity, epoch: Int64) { services.sessions.fenced(consumer, epoch: epoch) }
    func declaredDead() { services.sessions.endAll() }
    func othersPresent(_ isSo: Bool) { services.head.hasListeners = isSo }
}
