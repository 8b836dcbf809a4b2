import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// Reads the head of the stream, once for everyone: carries out what ``HeadReader`` decides.
final class StreamTail {
    private let loop: EventLoop
    private let logger: Logger
    private let tables: StreamTables
    private let configuration: HeadReader.Configuration
    private let database: PersistentConnection
    private let limits = QueueReader.Limits()
    private var rows: QueueReader?
    private var queries: TailQueries?
    private var info: StreamInfo?
    private var head: HeadReader?
    private var timer: Timer?
    /// Whether reads are under way on the present connection.
    private var isFollowing = false
    private var gapLog: GapLog
    /// Who waits for a read that begins after they asked.
    private var askers: [(Bool) -> Void] = []
    private var askersOfThisTurn: [(Bool) -> Void] = []
    private var latched: Bool?
    private var lastPassedOn: MonotonicTime?
    private var passOnTimer: Timer?
    private var roleAskedAt: MonotonicTime?

    /// Wake-ups for other pushers are passed on at most this often.
    private let passOnInterval = Duration.milliseconds(5)
    /// How often a listener tries to get the waking role.
    private let roleInterval = Duration.seconds(1)

    /// The position the tail starts from, once it is known.
    var onStart: (EventID) -> Void = { _ in }
    /// Events that are settled, in order, without a gap to what came before.
    var onPage: (EventPage) -> Void = { _ in }
    /// Whether other pushers listen for wake-ups.
    var hasListeners = false

    init(_ configuration: Pusher.Configuration, loop: EventLoop, logger: Logger) {
        self.loop = loop
        self.logger = logger
        self.configuration = configuration.head
        tables = configuration.database.tables
        gapLog = GapLog(logger: logger)
        database = PersistentConnection(
            configuration.database.options(application: "evt-pusher tail", settings: QueueReader.settings), on: loop)
    }

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

    /// Calls back when everything that was committed before this call has been reported, as far as no open transaction
    /// holds it back; with false if the database goes away meanwhile.
    func whenFresh(_ completion: @escaping (Bool) -> Void) {
        askers.append(completion)
        // The first read of a connection serves those who ask before it.
        if isFollowing, let action = head?.asked() { perform(action) }
    }

    var isConnected: Bool { database.current != nil }

    private func takeRole(on connection: Connection) {
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

    private func perform(_ action: SleepLatch.Action) {
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
        case .holders: readHolders(on: connection)
        case .rows(let after): readRows(after: after, on: connection)
        case nil: turnEnded()
        }
    }

    private func readHolders(on connection: Connection) {
        let begun = MonotonicTime.now
        queries?.look(after: settled ?? .none, on: connection) { [unowned self] result in
            guard case .success(let look) = result else { return self.readFailed(result, connection) }
            let now = MonotonicTime.now
            let next = self.head?.sawHolders(look.holders, newest: look.newest, took: now - begun, at: now)
            if next == nil { self.reportGap(on: connection) }
            self.submit(next, on: connection)
        }
    }

    private func readRows(after: EventID, on connection: Connection) {
        rows?.read(on: connection, after: after, limits: limits) { [unowned self] result in
            guard case .success(let rows) = result else { return self.readFailed(result, connection) }
            let count = self.head?.sawRows(rows.ids, isCut: rows.isCut, at: .now) ?? 0
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

extension StreamTail: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        let info = try await StreamInfo.load(tables, from: connection)
        let queries = TailQueries(info)
        try await queries.listen(on: connection)
        let floor = try await queries.settledFloor(on: connection)
        (self.info, self.queries, rows) = (info, queries, QueueReader(info.tables))
        // After a reconnect the tail goes on where it was.
        if head == nil { head = HeadReader(settled: floor, configuration) }
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) {
        connection.onNotification = { [unowned self] _ in
            if self.isFollowing, let action = self.head?.notified() { self.perform(action) }
        }
        logger.info("following the stream", metadata: [.settled: "\(settled ?? .none)"])
        onStart(settled ?? .none)
        takeRole(on: connection)
    }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        timer?.cancel()
        isFollowing = false
        logger.warning("no database", metadata: [.error: "\(error)", .retryIn: "\(pause)"])
        let waiting = askersOfThisTurn + askers
        (askers, askersOfThisTurn) = ([], [])
        for asker in waiting { asker(false) }
    }
}
