import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// Reads the head of the stream, once for everyone: performs what ``SettledHorizon`` and ``SleepLatch`` decide.
final class StreamTail {
    private let loop: EventLoop
    private let logger: Logger
    private let tables: StreamTables
    private let database: PersistentConnection
    private let limits = QueueReader.Limits()
    private var reader: QueueReader?
    private var queries: TailQueries?
    private var info: StreamInfo?
    private var horizon: SettledHorizon?
    private var latch: SleepLatch
    private var timer: Timer?
    /// Whether reads are under way on the present connection.
    private var isFollowing = false
    private var gapLog: GapLog
    /// Who waits for a read that begins after they asked.
    private var askers: [(Bool) -> Void] = []
    private var askersOfThisRead: [(Bool) -> Void] = []
    private var lastPassedOn: MonotonicTime?
    private var passOnTimer: Timer?

    /// A gap younger than this is not worth a look at pg_locks.
    private let gapPatience = Duration.milliseconds(5)
    /// Wake-ups for other pushers are passed on at most this often.
    private let passOnInterval = Duration.milliseconds(5)

    /// The position the tail starts from, once it is known.
    var onStart: (EventID) -> Void = { _ in }
    /// Events that are settled, in order, without a gap to what came before.
    var onPage: (EventPage) -> Void = { _ in }
    /// Whether other pushers listen for wake-ups.
    var hasListeners = false

    init(_ configuration: Pusher.Configuration, loop: EventLoop, logger: Logger) {
        self.loop = loop
        self.logger = logger
        tables = configuration.database.tables
        latch = SleepLatch(configuration.latch, role: .waker)
        gapLog = GapLog(logger: logger)
        database = PersistentConnection(
            configuration.database.options(application: "evt-pusher tail", settings: QueueReader.settings), on: loop)
    }

    /// Everything up to here has been reported.
    var settled: EventID? { horizon?.settled }

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
        woken()
    }

    var isConnected: Bool { database.current != nil }

    private func takeRole(on connection: Connection) {
        guard let info, let queries else { return }
        guard !info.writersMayPrepare else {
            isFollowing = true
            return perform(latch.started(as: .poller))
        }
        queries.takeWakerRole(on: connection) { [unowned self] result in
            guard case .success(let isWaker) = result else { return self.readFailed(result, connection) }
            self.isFollowing = true
            self.perform(self.latch.started(as: isWaker ? .waker : .listener))
        }
    }

    private func woken() {
        // The first read of a connection serves those who ask before it.
        guard isFollowing else { return }
        if let action = latch.woken() { perform(action) }
    }

    private func perform(_ action: SleepLatch.Action) {
        timer?.cancel()
        switch action {
        case .read(let operation): read(operation)
        case .pause(let duration), .sleep(let duration):
            if !askers.isEmpty, let next = latch.woken() { return perform(next) }
            timer = loop.schedule(after: duration) { [weak self] in
                guard let self else { return }
                if case .sleep = action { self.retryRole() }
                if let next = self.latch.timerFired() { self.perform(next) }
            }
        }
    }

    /// The pusher with the waking role may have died.
    private func retryRole() {
        guard latch.role == .listener, let connection = database.current else { return }
        queries?.takeWakerRole(on: connection) { [unowned self] result in
            if case .success(true) = result { self.latch.roleChanged(to: .waker) }
        }
    }

    // MARK: One turn

    private func read(_ operation: SleepLatch.LatchOperation) {
        guard let connection = database.current, let queries, let horizon else { return }
        askersOfThisRead += askers
        askers = []
        var latched: Bool?
        switch operation {
        case .take:
            queries.takeLatch(on: connection) { [unowned self] result in
                guard case .success(let taken) = result else { return self.readFailed(result, connection) }
                latched = taken
            }
        case .release:
            queries.releaseLatch(on: connection) { [unowned self] result in self.readFailed(result, connection) }
        case .leave: break
        }
        let isOld = horizon.gap.map { MonotonicTime.now - $0.openedAt >= gapPatience } ?? false
        guard horizon.gap != nil, isOld || !askersOfThisRead.isEmpty else {
            return readRows(on: connection) { latched }
        }
        queries.holders(on: connection) { [unowned self] result in
            guard case .success(let holders) = result else { return self.readFailed(result, connection) }
            if self.horizon?.holders(holders) == true { return self.readRows(on: connection) { latched } }
            self.reportGap(on: connection)
            self.turnEnded(foundRows: false, more: false, latched: latched)
        }
    }

    private func readRows(on connection: Connection, latched: @escaping () -> Bool?) {
        guard let reader, let after = horizon?.settled else { return }
        reader.read(on: connection, after: after, limits: limits) { [unowned self] result in
            guard case .success(let rows) = result else { return self.readFailed(result, connection) }
            guard self.horizon?.settled == after else { return }
            let count = self.horizon?.rows(rows.ids, at: .now) ?? 0
            if count > 0 {
                self.gapLog.closed()
                self.onPage(rows.page(first: count))
                self.passOn()
            }
            self.turnEnded(
                foundRows: count > 0, more: count == rows.count && rows.isCut,
                latched: latched())
        }
    }

    /// A query was cancelled, or does not work; the connection lives. Start over, after a pause: a new connection holds no
    /// locks of unknown state.
    private func readFailed<Value>(_ result: Result<Value, PostgresError>, _ connection: Connection) {
        guard case .failure(let error) = result, connection.isOpen, database.current === connection else { return }
        database.restart(because: error)
    }

    private func turnEnded(foundRows: Bool, more: Bool, latched: Bool?) {
        let gap = horizon?.gap
        // Held back by transactions that are open: those who ask cannot wait for that.
        if gap == nil || gap?.holders?.isEmpty == false {
            let ready = askersOfThisRead
            askersOfThisRead = []
            for asker in ready { asker(true) }
        } else {
            askers = askersOfThisRead + askers
            askersOfThisRead = []
        }
        perform(latch.didRead(foundRows: foundRows, more: more, latched: latched, blocked: gap != nil))
    }

    /// The other pushers sleep until a writer or this one notifies them; the last event of a burst must be announced, too.
    private func passOn() {
        guard hasListeners, latch.role == .waker, passOnTimer == nil else { return }
        let elapsed = lastPassedOn.map { MonotonicTime.now - $0 } ?? passOnInterval
        passOnTimer = loop.schedule(after: max(passOnInterval - elapsed, .zero)) { [weak self] in
            guard let self else { return }
            self.passOnTimer = nil
            self.lastPassedOn = .now
            if let connection = self.database.current { self.queries?.notify(on: connection) }
        }
    }

    private func reportGap(on connection: Connection) {
        guard let gap = horizon?.gap, let holders = gap.holders, let queries, gapLog.isDue(gap, at: .now) else { return }
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
        (self.info, self.queries, reader) = (info, queries, QueueReader(info.tables))
        // After a reconnect the tail goes on where it was; what it knew of gaps and locks is forgotten.
        horizon = SettledHorizon(settled: horizon?.settled ?? floor)
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) {
        connection.onNotification = { [unowned self] _ in self.woken() }
        logger.info("following the stream", metadata: [.settled: "\(settled ?? .none)"])
        onStart(settled ?? .none)
        takeRole(on: connection)
    }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        timer?.cancel()
        isFollowing = false
        logger.warning("no database", metadata: [.error: "\(error)", .retryIn: "\(pause)"])
        let waiting = askersOfThisRead + askers
        (askers, askersOfThisRead) = ([], [])
        for asker in waiting { asker(false) }
    }
}

/// Says in the log what the stream waits for: once a gap has lasted a while, and rarely after that.
private struct GapLog {
    let logger: Logger
    private var reportedAt: MonotonicTime?
    private var openedAt: MonotonicTime?

    init(logger: Logger) { self.logger = logger }

    mutating func isDue(_ gap: SettledHorizon.Gap, at now: MonotonicTime) -> Bool {
        guard now - gap.openedAt >= .seconds(1), reportedAt.map({ now - $0 >= .seconds(30) }) ?? true else { return false }
        reportedAt = now
        openedAt = gap.openedAt
        return true
    }

    func waiting(_ gap: SettledHorizon.Gap, for holders: String) {
        logger.warning(
            "events wait for a transaction that has recorded earlier ones and is still open",
            metadata: [
                .position: "\(gap.after)", .holders: "\(holders)",
                .seconds: "\((MonotonicTime.now - gap.openedAt).components.seconds)",
            ])
    }

    mutating func closed() {
        if let openedAt {
            logger.info(
                "events flow again", metadata: [.seconds: "\((MonotonicTime.now - openedAt).components.seconds)"])
        }
        reportedAt = nil
        openedAt = nil
    }
}
