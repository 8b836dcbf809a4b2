import DequeModule
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
    let server: RequestServer?
    let broadcast: LiveBroadcast?
    let tail: StreamTail
    let store: PusherStore

    var window: EventWindow?
    var sessions = SessionTable()
    /// Calls for a consumer whose session is being claimed wait for the outcome.
    var claiming: [ConsumerIdentity: [() -> Void]] = [:]
    /// Calls that came while the database was away for a moment, or not reached yet.
    var held = HeldCalls()
    var pollMemo = PollMemo()
    /// Polls by peer; the first of each is under way.
    var polls: [[UInt8]: Deque<Poll>] = [:]
    var pollCount = 0
    /// Turns at reading history.
    var history = HistoryQueue<ConsumerIdentity>()
    private var tickTimer: (timer: Timer, due: MonotonicTime)?
    private var stopping = false
    private var lastRid: UInt64

    init(_ configuration: Pusher.Configuration, loop: EventLoop, logger: Logger) throws {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        let context = Context()
        server =
            configuration.bind.isEmpty
            ? nil
            : try RequestServer(
                binding: configuration.bind.list, context: context, loop: loop, sizeLimit: configuration.maxRequestBytes,
                name: "pusher", sendLimit: 2000, budget: SendBudget(limit: configuration.sendBytes),
                logger: logger)
        broadcast =
            configuration.liveBind.isEmpty
            ? nil
            : try LiveBroadcast(
                binding: configuration.liveBind.list, context: context, loop: loop, byteLimit: configuration.sendBytes,
                holdLimit: configuration.windowBytes, logger: logger)
        tail = StreamTail(configuration, loop: loop, logger: logger)
        store = PusherStore(configuration, loop: loop, logger: logger)
        // Numbers of an earlier run must not come again: a late answer to that run would be taken for one of ours.
        lastRid = UInt64.random(in: 1..<1 << 40) << 20
    }

    func start() {
        server?.onRequest = { [unowned self] in self.received($1, from: $0) }
        server?.onResponse = { [unowned self] in self.answered($1, by: $0) }
        server?.onDisconnect = { [unowned self] in self.disconnected($0) }
        tail.onStart = { [unowned self] position in
            if self.window == nil { self.window = EventWindow(after: position, byteLimit: self.configuration.windowBytes) }
            self.ready()
        }
        tail.onPage = { [unowned self] page in
            self.window?.append(page)
            self.broadcast?.send(page)
            self.liveEventsArrived(page)
            self.pumpAll()
        }
        store.onFenced = { [unowned self] consumer, epoch in self.fenced(consumer, epoch: epoch) }
        store.onDeclaredDead = { [unowned self] in self.endAllSessions() }
        store.onReady = { [unowned self] in self.ready() }
        store.settled = { [unowned self] in self.tail.settled ?? .none }
        store.sessions = { [unowned self] in
            self.sessions.all.compactMap { session in
                guard case .reliable(_, let epoch) = session.kind, !session.isReleased else { return nil }
                return (session.consumer, epoch)
            }
        }
        store.isServed = { [unowned self] in self.sessions.reliable($0) != nil || self.claiming[$0] != nil }
        store.onOthers = { [unowned self] in self.tail.hasListeners = $0 }
        store.start()
        tail.start()
        server?.start()
        broadcast?.start()
        let endpoints = (server?.endpoints ?? []) + (broadcast?.endpoints ?? [])
        logger.info("listening", metadata: [.endpoints: "\(endpoints.joined(separator: ","))"])
    }

    /// Starts no more groups, waits a while for the answers to those in flight, stores positions, gives sessions up.
    func stop() async {
        stopping = true
        await waitUntilIdle()
        server?.stop()
        tail.stop()
        for session in sessions.all { end(session, because: "the pusher stops", quietly: true) }
        await store.stop()
        broadcast?.stop()
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

    var mayStartGroups: Bool { !stopping }

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
