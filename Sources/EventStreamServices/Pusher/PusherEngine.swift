import EventLoop
import EventStore
import EventStream
import Logging
import Postgres
import ZeroMQ

/// The pusher's work, on its loop's thread: wires the parts together and keeps time.
///
/// `Calls`, `Sessions` and `Deliveries` are in the files of those names.
final class PusherEngine {
    let configuration: Pusher.Configuration
    let loop: EventLoop
    let logger: Logger
    let access: AccessControl
    let server: RequestServer?
    let broadcast: LiveBroadcast?
    let tail: StreamTail
    let store: PusherStore
    let metrics = PusherMetrics()
    let figures: StreamFigures

    var window: EventWindow?
    var sessions = SessionTable()
    var claims = ClaimQueue<ConsumerIdentity, Start>()
    /// Calls that came while the database was away for a moment, or not reached yet.
    var held = HeldCalls()
    var pollMemo = PollMemo()
    /// Calls that ask something of the database for each: whoever makes many waits for its own.
    var turns = TurnQueue<Account, () -> Void>(ownerLimit: 1000, limit: 10_000)
    /// Calls of `lag` under way.
    var lagCalls: [Account: Int] = [:]
    static let mostLagCalls = 100
    /// How far polls of registered consumers were answered with ids that an earlier generation may have given to others.
    var polledOut: [ConsumerIdentity: EventID] = [:]
    /// Turns at reading history.
    var history = HistoryQueue<ConsumerIdentity>()
    private var watch: HindranceWatch?
    private var tickTimer: (timer: Timer, due: MonotonicTime)?
    private var stopping = false
    private(set) var isStopped = false
    private var lastRid: UInt64
    /// Lines that peers can cause; a service that begins many sessions at once is seen to.
    var sessionLog = PeerLog(
        each: .init(burst: 100, interval: .seconds(1)), all: .init(burst: 1000, interval: .milliseconds(100)))
    var failureLog = PeerLog(each: .init(burst: 3, interval: .seconds(10)))

    init(_ configuration: Pusher.Configuration, loop: EventLoop, logger: Logger) throws {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        let context = Context()
        access = try AccessControl(configuration.keys, context: context, loop: loop, logger: logger)
        server =
            configuration.bind.isEmpty
            ? nil
            : try RequestServer(
                .pusher, binding: configuration.bind, offering: [.poll, .push, .ping], access: access,
                limits: configuration.limits, context: context, loop: loop, sizeLimit: configuration.maxRequestBytes,
                sendLimit: 2000, budget: SendBudget(limit: configuration.sendBytes), logger: logger)
        broadcast =
            configuration.liveBind.isEmpty
            ? nil
            : try LiveBroadcast(
                binding: configuration.liveBind, access: access, limits: configuration.limits, context: context, loop: loop,
                byteLimit: configuration.sendBytes, holdLimit: configuration.windowBytes, logger: logger)
        tail = StreamTail(configuration, loop: loop, logger: logger)
        store = PusherStore(configuration, loop: loop, logger: logger)
        figures = StreamFigures(configuration.database, loop: loop)
        // Numbers of an earlier run must not come again: a late answer to that run would be taken for one of ours.
        lastRid = UInt64.random(in: 1..<1 << 40) << 20
    }

    func start() {
        watch = HindranceWatch(configuration.database, application: "evt-pusher", loop: loop, logger: logger) {
            [unowned self] in self.need
        }
        watch?.start()
        server?.onHeard = { [unowned self] in self.heard($0) }
        server?.onCall = { [unowned self] in self.received($1, rid: $2, from: $0) }
        server?.onResponse = { [unowned self] in self.answered($1, by: $0) }
        server?.onDisconnect = { [unowned self] in self.disconnected($0) }
        server?.onRevoke = { [unowned self] in self.revoked($0) }
        tail.onStart = { [unowned self] start in
            if start.isAnew { self.beginAnew(after: start.position) }
            self.store.trust(start.identity, isAnew: start.isAnew)
            self.ready()
        }
        tail.onPage = { [unowned self] page in
            self.metrics.read.add(page.count)
            self.store.settled(through: page.through, since: self.tail.lookedBefore)
            self.window?.append(page)
            self.broadcast?.send(page)
            self.liveEventsArrived(page)
            self.pumpAll()
        }
        tail.onLost = { [unowned self] in self.store.distrust() }
        store.onFenced = { [unowned self] consumer, epoch in self.fenced(consumer, epoch: epoch) }
        store.onDeclaredDead = { [unowned self] in self.endAllSessions() }
        store.onReady = { [unowned self] in self.ready() }
        store.onStored = { [unowned self] in self.tail.stored($0) }
        store.onDisagreement = { [unowned self] in self.tail.lookAgain(because: $0) }
        store.settled = { [unowned self] in self.tail.settled ?? .none }
        store.looked = { [unowned self] in self.tail.lookedAt.map { .now - $0 } }
        store.sessions = { [unowned self] in
            self.sessions.all.compactMap { session in
                guard case .reliable(_, let epoch) = session.kind, !session.isReleased else { return nil }
                return (session.consumer, epoch)
            }
        }
        store.isServed = { [unowned self] in self.sessions.reliable($0) != nil || self.claims.isUnderWay($0) }
        store.onOthers = { [unowned self] in self.tail.hasListeners = $0 }
        store.start()
        tail.start()
        access.start()
        server?.start()
        broadcast?.start()
        let endpoints = (server?.endpoints ?? []) + (broadcast?.endpoints ?? [])
        logger.info("listening", metadata: [.endpoints: "\(endpoints.joined(separator: ","))"])
        broadcast?.onDropped = { [unowned self] in self.metrics.liveDropped.add($0) }
    }

    /// Starts no more groups, waits a while for the answers to those in flight, stores positions, gives sessions up.
    func stop() async {
        stopping = true
        watch?.stop()
        await waitUntilIdle()
        isStopped = true
        server?.stop()
        tail.stop()
        for session in sessions.all { end(session, because: "the pusher stops", quietly: true) }
        // Whoever waits for a turn, for the database or for figures gets no answer any more.
        (turns, claims) = (.init(ownerLimit: 1000, limit: 10_000), .init())
        _ = held.takeAll()
        figures.stop()
        await store.stop()
        broadcast?.stop()
        access.stop()
        logger.info("stopped")
    }

    private func waitUntilIdle() async {
        let deadline = MonotonicTime.now + configuration.drainTimeout
        while sessions.all.contains(where: { !$0.isIdle && !$0.lease.isDisconnected }), MonotonicTime.now < deadline {
            await withCheckedContinuation { continuation in
                loop.schedule(after: .milliseconds(10)) { continuation.resume() }
            }
        }
    }

    /// The stream is another than before, or this is the start: nothing that was read or confirmed means anything any more.
    private func beginAnew(after position: EventID) {
        for session in sessions.all { sessions.remove(session) }
        window = EventWindow(after: position, byteLimit: configuration.windowBytes)
        (pollMemo, polledOut) = (PollMemo(), [:])
    }

    var mayStartGroups: Bool { !stopping }

    /// Brings the gauges up to date.
    func collect(_ completion: @escaping () -> Void) {
        metrics.show(
            sessions, subscribers: broadcast?.subscriberCount ?? 0, gap: tail.isConnected ? tail.head?.gap : nil, at: .now)
        figures.refresh { [weak self] in
            self?.forgetRemovedConsumers()
            completion()
        }
    }

    /// The figures of consumers that were removed or renamed go.
    private func forgetRemovedConsumers() {
        guard let present = figures.status?.consumers.map(\.consumer), let time = figures.lookBegan else { return }
        metrics.keep(only: Set(present), asOf: time, isServed: store.isServed)
    }

    /// Which stream it follows, once it does.
    var served: ServedStream? {
        tail.identity.map {
            ServedStream(stream: $0.generation.stream, place: $0.place, table: tail.info.map { "\($0.tables.events)" })
        }
    }

    var readiness: Readiness {
        let found = watch?.found
        if let trouble = tail.trouble(at: .now) ?? store.trouble ?? found {
            return .notReady(because: found.map { trouble == $0 ? $0 : "\(trouble): \($0)" } ?? trouble)
        }
        guard isReady, let settled = tail.settled else { return .notReady(because: "the database cannot be reached") }
        return .ready("following the stream at \(settled); sessions: \(sessions.all.count)")
    }

    /// Whether it is worth a look who keeps this pusher from its work.
    private var need: HindranceWatch.Need {
        guard isReady, store.trouble == nil, !store.isSilent(at: .now), !tail.isHeldUp(at: .now) else { return .waiting }
        // A listener relies on another pusher's waking role: a stranger may have that.
        return tail.head?.role == .listener ? .doubt : .none
    }

    /// Whether calls that need the database can be served.
    var isReady: Bool { tail.isConnected && window != nil && store.isReady }

    private func ready() {
        pumpAll()
        guard isReady else { return }
        for call in held.takeAll() { call() }
    }

    func nextRid() -> UInt64 {
        lastRid += 1
        return lastRid
    }

    // MARK: Time

    /// Leases, overdue answers and pauses are looked after while there are sessions.
    ///
    /// - Parameter delay: the next look is not later; there is one at least every `longestTick`.
    func keepTime(within delay: Duration? = nil) {
        guard !sessions.isEmpty else { return }
        let due = MonotonicTime.now + max(.milliseconds(20), min(delay ?? longestTick, longestTick))
        if let tickTimer, tickTimer.due <= due { return }
        tickTimer?.timer.cancel()
        let timer = loop.schedule(after: due - .now) { [weak self] in
            guard let self else { return }
            self.tickTimer = nil
            self.tick(at: .now)
            self.keepTime(within: self.sessions.all.compactMap(\.nextDeadline).min().map { $0 - .now })
        }
        tickTimer = (timer, due)
    }

    private var longestTick: Duration {
        min(.seconds(1), configuration.sessionTimeout / 20, configuration.delivery.ackTimeout / 5)
    }

    private func tick(at now: MonotonicTime) {
        if store.mayBeGivenUp(at: now), sessions.all.contains(where: { !$0.isLive }) {
            logger.warning("no sign of life has reached the database for long: sessions end, other pushers may have them")
            endAllSessions()
        }
        for session in sessions.all {
            if session.lease.hasEnded(at: now) {
                end(session, because: "nothing was heard from its receiver")
            } else {
                sendDue(session, at: now)
            }
        }
    }
}
