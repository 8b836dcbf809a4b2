import EventStream

/// Carries out what ``HeadReader`` decides, as `StreamTail` does, in the same order.
final class SimulatedTail {
    private let surroundings: Surroundings
    private let database: SimulatedDatabase
    private let timers: SimulatedTimers
    private let configuration: HeadReader.Configuration
    private let limits: (rows: Int, bytes: Int)
    let keeper: SimulatedKeeper
    private(set) var head: HeadReader?
    private var timer: Int?
    private var isFollowing = false
    private var askers: [(Bool) -> Void] = []
    private var askersOfThisTurn: [(Bool) -> Void] = []
    private var latched: Bool?
    private var lastPassedOn: MonotonicTime?
    private var passOnTimer: Int?
    private var roleAskedAt: MonotonicTime?
    private let passOnInterval = Duration.milliseconds(5)
    private let roleInterval: Duration

    var onStart: (EventID) -> Void = { _ in }
    var onPage: (EventPage) -> Void = { _ in }
    var hasListeners = false

    init(
        _ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers,
        _ configuration: HeadReader.Configuration,
        limits: (rows: Int, bytes: Int)
    ) {
        self.surroundings = surroundings
        self.database = database
        self.timers = timers
        self.configuration = configuration
        self.limits = limits
        roleInterval = min(.seconds(1), configuration.latch.longestSleep)
        keeper = SimulatedKeeper(surroundings, database, timers)
        keeper.prepare = { [unowned self] in self.prepare($0, $1) }
        keeper.opened = { [unowned self] in self.opened($0) }
        keeper.failed = { [unowned self] in self.failed() }
    }

    var settled: EventID? { head?.settled }
    var summary: String { "connected: \(isConnected), head: \(head.map { "\($0)" } ?? "none")" }
    var isConnected: Bool { keeper.current != nil }

    /// Calls back when what was committed before has been reported; with false if the database goes away meanwhile.
    func whenFresh(_ completion: @escaping (Bool) -> Void) {
        askers.append(completion)
        if isFollowing, let action = head?.asked() { perform(action) }
    }

    // MARK: The connection

    /// LISTEN, what is known, and only then the look at the holders.
    private func prepare(_ connection: SimulatedConnection, _ done: @escaping (Bool) -> Void) {
        let database = database
        connection.submit({ connection.isListening = true }) { [unowned self] listens in
            guard listens != nil else { return done(false) }
            connection.submit({ database.knownFloor }) { [unowned self] known in
                guard let known else { return done(false) }
                connection.submit({ database.look() }) { [unowned self] look in
                    guard let look else { return done(false) }
                    let floor = EventID(known)
                    if self.head == nil { self.begin(at: look.holders.isEmpty ? max(floor, look.newest) : floor) }
                    done(true)
                }
            }
        }
    }

    private func begin(at floor: EventID) {
        database.oracle.settled(floor.rawValue, database.queue, "the floor a pusher begins at")
        head = HeadReader(settled: floor, configuration)
    }

    private func opened(_ connection: SimulatedConnection) {
        connection.onNotification = { [unowned self] in
            if self.isFollowing, let action = self.head?.notified() { self.perform(action) }
        }
        onStart(settled ?? .none)
        guard !database.writersMayPrepare else { return follow(as: .poller) }
        connection.submit({ [database] in database.takeWakerRole(connection) }) { [unowned self] isWaker in
            guard let isWaker else { return self.readFailed(connection) }
            self.follow(as: isWaker ? .waker : .listener)
        }
    }

    private func failed() {
        timers.cancel(timer)
        isFollowing = false
        let waiting = askersOfThisTurn + askers
        (askers, askersOfThisTurn) = ([], [])
        for asker in waiting { asker(false) }
    }

    private func readFailed(_ connection: SimulatedConnection) {
        guard connection.isOpen, keeper.current === connection else { return }
        keeper.restart()
    }

    private func follow(as role: SleepLatch.Role) {
        isFollowing = true
        if let action = head?.started(as: role) { perform(action) }
    }

    private func perform(_ action: SleepLatch.Action) {
        timers.cancel(timer)
        switch action {
        case .read(let operation): turn(operation)
        case .pause(let duration), .sleep(let duration):
            timer = timers.schedule(at: surroundings.now + duration) { [unowned self] in
                self.retryRole()
                if let next = self.head?.timerFired() { self.perform(next) }
            }
        }
    }

    private func retryRole() {
        guard head?.role == .listener, let connection = keeper.current,
            roleAskedAt.map({ surroundings.now - $0 >= roleInterval }) ?? true
        else { return }
        roleAskedAt = surroundings.now
        connection.submit({ [database] in database.takeWakerRole(connection) }) { [unowned self] isWaker in
            if isWaker == true { self.head?.roleChanged(to: .waker) }
        }
    }

    // MARK: One turn

    private func turn(_ operation: SleepLatch.LatchOperation) {
        guard let connection = keeper.current else { return }
        askersOfThisTurn += askers
        askers = []
        latched = nil
        let isLate = surroundings.fault == .latchAfterRead
        if !isLate { operate(operation, on: connection) }
        let query = head?.begin(isAsked: !askersOfThisTurn.isEmpty, at: surroundings.now)
        submit(query, on: connection, latchLater: isLate ? operation : .leave)
    }

    private func operate(_ operation: SleepLatch.LatchOperation, on connection: SimulatedConnection) {
        switch operation {
        case .take:
            connection.submit({ [database] in database.takeLatch(connection) }) { [unowned self] taken in
                guard let taken else { return self.readFailed(connection) }
                self.latched = taken
            }
        case .release:
            connection.submit({ [database] in database.releaseLatch(connection) }) { [unowned self] done in
                if done == nil { self.readFailed(connection) }
            }
        case .leave: break
        }
    }

    private func submit(
        _ query: HeadReader.Query?, on connection: SimulatedConnection, latchLater: SleepLatch.LatchOperation = .leave
    ) {
        switch query {
        case .holders where surroundings.fault == .locksAfterRead:
            guard let after = settled else { return }
            read(after: after, on: connection) { [unowned self] rows in
                self.readHolders(withNewest: true, on: connection, rowsReadBefore: rows)
            }
        case .holders(let withNewest): readHolders(withNewest: withNewest, on: connection)
        case .rows(let after):
            read(after: after, on: connection) { [unowned self] rows in
                guard latchLater != .leave else { return self.sawRows(rows) }
                self.operate(latchLater, on: connection)
                // Answers come in order: by now it is known what became of the latch.
                connection.submit({ true }) { [unowned self] done in if done != nil { self.sawRows(rows) } }
            }
        case .advance, nil: turnEnded()
        }
    }

    private func readHolders(
        withNewest: Bool, on connection: SimulatedConnection, rowsReadBefore: SimulatedRows? = nil
    ) {
        let begun = surroundings.now
        connection.submit({ [database] in database.look() }) { [unowned self] look in
            guard let look else { return self.readFailed(connection) }
            let now = self.surroundings.now
            // In the simulation answers take long; how dear the look is, is not at issue here.
            let next = self.head?.sawHolders(
                look.holders, newest: withNewest ? look.newest : nil, took: (now - begun) / 50, at: now)
            if let rowsReadBefore, next != nil { return self.sawRows(rowsReadBefore) }
            self.submit(next, on: connection)
        }
    }

    private func read(after: EventID, on connection: SimulatedConnection, _ completion: @escaping (SimulatedRows) -> Void) {
        connection.submit({ [database, limits] in
            database.page(after: after, through: EventID(.max), types: nil, stretch: nil, limits: limits)
        }) { [unowned self] rows in
            guard let rows else { return self.readFailed(connection) }
            completion(rows)
        }
    }

    private func sawRows(_ rows: SimulatedRows) {
        guard head?.settled == rows.after else { return }
        let count = head?.sawRows(rows.ids, isCut: rows.isCut, at: surroundings.now) ?? 0
        turnEnded {
            guard count > 0 else { return }
            self.onPage(rows.page(first: count))
            self.passOn()
        }
    }

    private func turnEnded(report: () -> Void = {}) {
        guard head != nil else { return }
        let isFresh = head?.isFresh ?? false
        let ready = isFresh ? askersOfThisTurn : []
        if !isFresh { askers = askersOfThisTurn + askers }
        askersOfThisTurn = []
        if let action = head?.end(latched: latched, isAsked: !askers.isEmpty, at: surroundings.now) { perform(action) }
        report()
        for asker in ready { asker(true) }
    }

    private func passOn() {
        guard hasListeners, head?.role == .waker, passOnTimer == nil else { return }
        let elapsed = lastPassedOn.map { surroundings.now - $0 } ?? passOnInterval
        passOnTimer = timers.schedule(at: surroundings.now + max(passOnInterval - elapsed, .zero)) { [unowned self] in
            self.passOnTimer = nil
            self.lastPassedOn = self.surroundings.now
            self.keeper.current?.submit({ [database] in database.notify() }) { _ in }
        }
    }
}
