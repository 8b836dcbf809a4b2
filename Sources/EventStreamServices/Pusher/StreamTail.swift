import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// A connection is given up because it may lead to another database than the others do: no trouble, and no news.
struct LookAgain: Error, CustomStringConvertible {
    let description: String
}

/// Reads the head of the stream, once for everyone: carries out what ``HeadReader`` decides.
final class StreamTail {
    private let loop: EventLoop
    let logger: Logger
    let tables: StreamTables
    let configuration: HeadReader.Configuration
    let failOver: FailOver
    let database: PersistentConnection
    private let limits = QueueReader.Limits()
    var rows: QueueReader?
    var queries: TailQueries?
    var info: StreamInfo?
    var head: HeadReader?
    var memory = StreamMemory()
    var generations: GenerationStore?
    var timer: Timer?
    /// Whether reads are under way on the present connection.
    var isFollowing = false
    private var gapLog: GapLog
    var trouble = TroubleLog()
    /// Why there is no connection, if there is none.
    var lastError: String?
    private let reconnects = Metric.reconnects.counter()
    /// When the turn that is under way began, the last one that has ended, and the one before.
    private var turnBegan: MonotonicTime?
    private(set) var lookedAt: MonotonicTime?
    private(set) var lookedBefore: MonotonicTime?
    /// Who waits for a read that begins after they asked.
    var askers: [(Bool) -> Void] = []
    var askersOfThisTurn: [(Bool) -> Void] = []
    private var latched: Bool?
    private var lastPassedOn: MonotonicTime?
    private var passOnTimer: Timer?
    private var roleAskedAt: MonotonicTime?

    /// Wake-ups for other pushers are passed on at most this often.
    private let passOnInterval = Duration.milliseconds(5)
    /// How often a listener tries to get the waking role.
    private let roleInterval = Duration.seconds(1)

    /// Reading begins over a new connection.
    var onStart: (Start) -> Void = { _ in }
    var onLost: () -> Void = {}
    /// Events that are settled, in order, without a gap to what came before.
    var onPage: (EventPage) -> Void = { _ in }
    /// Whether other pushers listen for wake-ups.
    var hasListeners = false

    init(_ configuration: Pusher.Configuration, loop: EventLoop, logger: Logger) {
        self.loop = loop
        self.logger = logger
        self.configuration = configuration.head
        failOver = configuration.failOver
        tables = configuration.database.tables
        gapLog = GapLog(logger: logger)
        database = PersistentConnection(
            configuration.database.options(application: "evt-pusher tail", settings: QueueReader.settings), on: loop)
    }

    struct Start {
        /// Everything up to here has been reported.
        let position: EventID
        let identity: GenerationStore.Identity
        /// Whether what was read before is of another generation, or nothing was.
        let isAnew: Bool
    }
    /// Which stream this is, and where; once it has been found.
    var identity: GenerationStore.Identity?
    var announced: StreamGeneration?

    /// Everything up to here has been reported.
    var settled: EventID? { head?.settled }

    func start() {
        database.delegate = self
        database.start()
    }

    func stop() {
        timer?.cancel()
        passOnTimer?.cancel()
        database.stop()
    }

    /// The database has acknowledged that the stream is settled up to here.
    func stored(_ settled: EventID) { memory.stored(settled) }

    /// Looks again whether the database is still the one it was.
    func lookAgain(because reason: String) { database.restart(because: LookAgain(description: reason)) }

    /// Calls back when everything that was committed before this call has been reported, as far as no open transaction
    /// holds it back; with false if the database goes away meanwhile.
    func whenFresh(_ completion: @escaping (Bool) -> Void) {
        askers.append(completion)
        // The first read of a connection serves those who ask before it.
        if isFollowing, let action = head?.asked() { perform(action) }
    }

    var isConnected: Bool { database.current != nil }

    /// Why events that wait do not move, in words for people.
    func trouble(at now: MonotonicTime) -> String? {
        guard isConnected else { return lastError ?? "the database cannot be reached" }
        if let turnBegan, now - turnBegan > Progress.patience {
            return "the database has not answered a read of new events for \((now - turnBegan).components.seconds) s"
        }
        guard let gap = head?.gap, gap.age(at: now) > Progress.patience else { return nil }
        let processes = (gap.holders ?? []).map { $0.processID.map { "pid \($0)" } ?? "prepared \($0.transaction)" }
        return "events after \(gap.after) wait for an open transaction that recorded earlier ones: "
            + processes.sorted().joined(separator: ", ")
    }

    /// Whether the database owes an answer, or events wait for an open transaction, for so long that somebody may be to blame.
    func isHeldUp(at now: MonotonicTime) -> Bool {
        if let turnBegan, now - turnBegan > .seconds(1) { return true }
        return head?.gap.map { $0.age(at: now) > Progress.patience - .seconds(5) } ?? false
    }

    func connectionFailed(_ error: any Error) {
        (lastError, turnBegan) = ("\(error)", nil)
        if !(error is LookAgain) { reconnects.add() }
    }

    func takeRole(on connection: Connection) {
        guard let info, let queries else { return }
        guard !info.writersMayPrepare else { return follow(as: .poller) }
        queries.takeWakerRole(on: connection) { [unowned self] result in
            guard case .success(let isWaker) = result else { return self.readFailed(result, connection) }
            self.follow(as: isWaker ? .waker : .listener)
        }
    }

    private func follow(as role: SleepLatch.Role) {
        isFollowing = true
        if let action = head?.started(as: role) { perform(action) }
    }

    func perform(_ action: SleepLatch.Action) {
        timer?.cancel()
        switch action {
        case .read(let operation): turn(operation)
        case .pause(let duration), .sleep(let duration):
            timer = loop.schedule(after: duration) { [weak self] in
                guard let self else { return }
                self.retryRole()
                if let next = self.head?.timerFired() { self.perform(next) }
            }
        }
    }

    /// The pusher with the waking role may have died.
    private func retryRole() {
        guard head?.role == .listener, let connection = database.current,
            roleAskedAt.map({ MonotonicTime.now - $0 >= roleInterval }) ?? true
        else { return }
        roleAskedAt = .now
        queries?.takeWakerRole(on: connection) { [unowned self] result in
            if case .success(true) = result { self.head?.roleChanged(to: .waker) }
        }
    }

    // MARK: One turn

    private func turn(_ operation: SleepLatch.LatchOperation) {
        guard let connection = database.current, let queries else { return }
        turnBegan = .now
        askersOfThisTurn += askers
        askers = []
        latched = nil
        switch operation {
        case .take:
            queries.takeLatch(on: connection) { [unowned self] result in
                guard case .success(let taken) = result else { return self.readFailed(result, connection) }
                self.latched = taken
            }
        case .release:
            queries.releaseLatch(on: connection) { [unowned self] result in self.readFailed(result, connection) }
        case .leave: break
        }
        submit(head?.begin(isAsked: !askersOfThisTurn.isEmpty, at: .now), on: connection)
    }

    private func submit(_ query: HeadReader.Query?, on connection: Connection) {
        switch query {
        case .holders(let withNewest): readHolders(withNewest: withNewest, on: connection)
        case .rows(let after): readRows(after: after, on: connection)
        case .advance(let id): advanceSequence(beyond: id, on: connection)
        case nil: turnEnded()
        }
    }

    private func readHolders(withNewest: Bool, on connection: Connection) {
        let begun = MonotonicTime.now
        queries?.look(newestAfter: withNewest ? (settled ?? EventID.none) : nil, on: connection) { [unowned self] result in
            guard case .success(let look) = result else { return self.readFailed(result, connection) }
            let now = MonotonicTime.now
            let next = self.head?.sawHolders(
                look.holders, newest: look.newest, drawn: look.drawn, took: now - begun, at: now)
            if next == nil { self.reportGap(on: connection) }
            self.submit(next, on: connection)
        }
    }

    private func advanceSequence(beyond id: EventID, on connection: Connection) {
        generations?.advance(beyond: id, on: connection) { [unowned self] result in
            guard case .success(let mayAdvance) = result else { return self.readFailed(result, connection) }
            guard mayAdvance else { return self.readFailed(Result<Void, _>.failure(self.notPermitted(id)), connection) }
            self.logger.warning(
                "an event has an id that the sequence has not given; the sequence goes on after it", metadata: [.last: "\(id)"])
            self.readHolders(withNewest: true, on: connection)
        }
    }

    private func notPermitted(_ id: EventID) -> PostgresError {
        PostgresError(
            .invalidInput,
            """
            event \(id) has an id that its sequence has not given, and nothing after it can be delivered before the sequence goes \
            on beyond it; this role may not do that: GRANT USAGE, UPDATE on it, or set it yourself
            """)
    }

    private func readRows(after: EventID, on connection: Connection) {
        let begun = MonotonicTime.now
        rows?.read(on: connection, after: after, limits: limits) { [unowned self] result in
            guard case .success(let rows) = result else { return self.readFailed(result, connection) }
            let now = MonotonicTime.now
            let count = self.head?.sawRows(rows.ids, isCut: rows.isCut, took: now - begun, at: now) ?? 0
            self.memory.read(rows.traces(first: count))
            self.turnEnded {
                guard count > 0 else { return }
                self.gapLog.closed()
                self.onPage(rows.page(first: count))
                self.passOn()
            }
        }
    }

    /// - Parameter report: tells of what the turn has found. By then the next turn has begun: the database works on it while
    ///   these rows are put into their wire form and sent.
    private func turnEnded(report: () -> Void = {}) {
        guard head != nil else { return }
        (lookedBefore, lookedAt, turnBegan) = (lookedAt, turnBegan ?? lookedAt, nil)
        let isFresh = head?.isFresh ?? false
        let ready = isFresh ? askersOfThisTurn : []
        if !isFresh { askers = askersOfThisTurn + askers }
        askersOfThisTurn = []
        if let action = head?.end(latched: latched, isAsked: !askers.isEmpty, at: .now) { perform(action) }
        report()
        for asker in ready { asker(true) }
    }

    /// A query was cancelled, or does not work; the connection lives. Start over, after a pause: a new connection holds no
    /// locks of unknown state.
    private func readFailed<Value>(_ result: Result<Value, PostgresError>, _ connection: Connection) {
        guard case .failure(let error) = result, connection.isOpen, database.current === connection else { return }
        database.restart(because: error)
    }
    /// The other pushers sleep until a writer or this one notifies them; the last event of a burst must be announced, too.
    private func passOn() {
        guard hasListeners, head?.role == .waker, passOnTimer == nil else { return }
        let elapsed = lastPassedOn.map { MonotonicTime.now - $0 } ?? passOnInterval
        passOnTimer = loop.schedule(after: max(passOnInterval - elapsed, .zero)) { [weak self] in
            guard let self else { return }
            self.passOnTimer = nil
            self.lastPassedOn = .now
            if let connection = self.database.current { self.queries?.notify(on: connection) }
        }
    }

    private func reportGap(on connection: Connection) {
        guard let gap = head?.gap, let holders = gap.holders, let queries, gapLog.isDue(gap, at: .now) else { return }
        let transfer = Unchecked((self, connection, queries))
        let home = LoopActor(loop: loop)
        Task {
            await home.run { _ in
                let (tail, connection, queries) = transfer.value
                let text = await queries.describe(holders, on: connection)
                tail.gapLog.waiting(gap, for: text)
            }
        }
    }
}
