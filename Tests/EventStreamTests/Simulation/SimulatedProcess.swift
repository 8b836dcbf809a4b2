import EventStream

/// A pusher's process: wires the parts together and keeps time, as `PusherEngine` does.
///
/// `Sessions` and `Deliveries` are in the files of those names.
final class SimulatedPusher {
    struct Configuration {
        var windowBytes = 2000
        var groupLimits = GroupLimits(events: 4, bytes: 600)
        var delivery = ConsumerDelivery.Configuration()
        var sessionTimeout = Duration.milliseconds(1500)
        var head = HeadReader.Configuration()
        var tailLimits = (rows: 8, bytes: 2000)
        var longestScan: Int64 = 20
    }

    let configuration: Configuration
    let surroundings: Surroundings
    let database: SimulatedDatabase
    let timers = SimulatedTimers()
    let tail: SimulatedTail
    let store: SimulatedStore
    let run: Int64
    /// Frozen until then.
    var frozenUntil: MonotonicTime?

    var links: [SimulatedLink] = []
    var window: EventWindow?
    var largestPage = 0
    /// In the order they began; a dictionary's order would differ from run to run.
    var sessions: [SimulatedSession] = []
    var claiming: [(consumer: Int, waiting: [() -> Void])] = []
    var held: [() -> Void] = []
    private var heldTimer: Int?
    var history = HistoryQueue<Int>()
    var historyReads = 0
    private var tick: (timer: Int, due: MonotonicTime)?
    private(set) var isStopping = false
    /// It has stopped as it was told to.
    private(set) var hasStopped = false
    private var lastRid: UInt64

    init(_ configuration: Configuration, _ surroundings: Surroundings, _ database: SimulatedDatabase, run: Int64) {
        self.configuration = configuration
        self.surroundings = surroundings
        self.database = database
        self.run = run
        lastRid = UInt64(run) << 32
        tail = SimulatedTail(surroundings, database, timers, configuration.head, limits: configuration.tailLimits)
        store = SimulatedStore(surroundings, database, timers, pusher: run, sessionTimeout: configuration.sessionTimeout)
        wire()
        store.work.start()
        store.reading.start()
        tail.keeper.start()
    }

    private func wire() {
        tail.onStart = { [unowned self] position in
            if self.window == nil { self.window = EventWindow(after: position, byteLimit: self.configuration.windowBytes) }
            self.ready()
        }
        tail.onPage = { [unowned self] page in
            self.database.oracle.settled(page.through.rawValue, self.database.queue, "what pusher \(self.run) holds for settled")
            self.window?.append(page)
            self.largestPage = max(self.largestPage, page.byteCount)
            self.pumpAll()
        }
        store.onFenced = { [unowned self] consumer, epoch in self.fenced(consumer, epoch: epoch) }
        store.onDeclaredDead = { [unowned self] in self.endAllSessions() }
        store.onReady = { [unowned self] in self.ready() }
        store.settled = { [unowned self] in self.tail.settled ?? .none }
        store.sessions = { [unowned self] in
            self.sessions.filter { !$0.isReleased }.map { ($0.consumer, $0.epoch) }
        }
        store.isServed = { [unowned self] consumer in
            self.session(of: consumer) != nil || self.claiming.contains { $0.consumer == consumer }
        }
        store.onOthers = { [unowned self] in self.tail.hasListeners = $0 }
    }

    /// Its signs of life do not reach the database.
    var isGivenUp: Bool { !isReady || store.mayBeGivenUp(at: surroundings.now) }
    var isReady: Bool { tail.isConnected && window != nil && store.isReady }

    private func ready() {
        pumpAll()
        guard isReady else { return }
        serveHeld()
    }

    private func serveHeld() {
        timers.cancel(heldTimer)
        heldTimer = nil
        let calls = held
        held = []
        for call in calls { call() }
    }

    func nextRid() -> UInt64 {
        lastRid += 1
        return lastRid
    }

    // MARK: Calls

    /// A message of a peer's arrives.
    func received(_ message: SimulatedLink.ToPusher, over link: SimulatedLink) {
        // A peer heard over a new connection has left the old one.
        links.removeAll { $0 !== link && $0.peer == link.peer && $0.isCut }
        heard(link.peer)
        switch message {
        case .answer(let rid, let isGood): answered(rid, isGood: isGood, by: link.peer)
        case .call(let call, let rid):
            guard !isReady else { return serve(call, rid: rid, from: link) }
            held.append { [unowned self] in self.serve(call, rid: rid, from: link) }
            if heldTimer == nil {
                heldTimer = timers.schedule(at: surroundings.now + .milliseconds(200)) { [unowned self] in self.serveHeld() }
            }
        }
    }

    private func serve(_ call: SimulatedLink.Call, rid: Int, from link: SimulatedLink) {
        switch call {
        case .register:
            store.register(link.consumer) { [unowned self] isDone in
                self.answer(link, rid, isDone ? .done : .failed)
            }
        case .ready: readyToReceive(Start(link: link, rid: rid))
        case .stop:
            if let session = sessions.first(where: { $0.peer == link.peer }) { end(session) }
            answer(link, rid, .done)
        }
    }

    // MARK: The socket

    enum Sent { case sent, full, unreachable }

    func hasRoom() -> Bool { !surroundings.trouble(3) }

    @discardableResult
    func answer(_ link: SimulatedLink, _ rid: Int, _ outcome: SimulatedLink.Outcome) -> Sent {
        send(.answer(rid: rid, outcome), to: link.peer)
    }

    /// Messages go to the newest connection under the peer's identity.
    func send(_ message: SimulatedLink.ToReceiver, to peer: Int) -> Sent {
        guard let link = links.last(where: { $0.peer == peer && $0.isUp }), !link.isNoticed else { return .unreachable }
        guard !surroundings.trouble(surroundings.fullQueuesInHundred) else { return .full }
        if !link.isCut { link.toReceiver.append(message) }
        return .sent
    }

    // MARK: Time

    func keepTime(within delay: Duration? = nil) {
        guard !sessions.isEmpty else { return }
        let due = surroundings.now + max(.milliseconds(20), min(delay ?? longestTick, longestTick))
        if let tick, tick.due <= due { return }
        timers.cancel(tick?.timer)
        let timer = timers.schedule(at: due) { [unowned self] in
            self.tick = nil
            self.lookAfterSessions()
            self.keepTime()
        }
        tick = (timer, due)
    }

    private var longestTick: Duration {
        min(.seconds(1), configuration.sessionTimeout / 20, configuration.delivery.ackTimeout / 5)
    }

    private func lookAfterSessions() {
        let now = surroundings.now
        if store.mayBeGivenUp(at: now) { endAllSessions() }
        for session in sessions {
            if session.lease.hasEnded(at: now) { end(session) } else { sendDue(session, at: now) }
        }
    }

    // MARK: The end

    /// Starts no more groups, waits a while for answers, stores positions, gives sessions up.
    func stop() {
        guard !isStopping else { return }
        isStopping = true
        waitUntilIdle(until: surroundings.now + .milliseconds(200))
    }

    private func waitUntilIdle(until deadline: MonotonicTime) {
        guard sessions.contains(where: { !$0.delivery.inFlight.isEmpty && !$0.lease.isDisconnected }), surroundings.now < deadline
        else {
            tail.keeper.stop()
            for session in sessions { end(session) }
            return store.stop { [unowned self] in self.hasStopped = true }
        }
        _ = timers.schedule(at: surroundings.now + .milliseconds(10)) { [unowned self] in self.waitUntilIdle(until: deadline) }
    }

    /// The process is gone without a word.
    func kill() {
        timers.cancelAll()
        for keeper in [tail.keeper, store.work, store.reading] { keeper.abandon() }
        for link in links { link.isCutByPusher = true }
    }
}
