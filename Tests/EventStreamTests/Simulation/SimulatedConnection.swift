import EventStream
import LibPQ

/// A connection to the simulated database. Statements are carried out in the order they were submitted, each at some
/// step; their answers arrive in the same order, each at a later one.
final class SimulatedConnection {
    private struct Statement {
        let isBlocked: (() -> Bool)?
        /// Carries it out, and returns what its answer does at the client.
        let execute: () -> (() -> Void)
        let fail: () -> Void
    }

    private struct Arrival {
        let deliver: () -> Void
        let fail: (() -> Void)?
    }

    let number: Int
    private let surroundings: Surroundings
    private var submitted: [Statement] = []
    private var arriving: [Arrival] = []
    private var blockedSince: MonotonicTime?
    /// Whether the client has not heard that it ended.
    private(set) var isOpen = true
    /// Whether the server's process still lives; it holds the locks.
    private(set) var isServed = true
    var isListening = false
    var onNotification: (_ process: Int32) -> Void = { _ in }
    /// The connection ended without the client's doing.
    var onLost: () -> Void = {}

    init(number: Int, _ surroundings: Surroundings) {
        self.number = number
        self.surroundings = surroundings
    }

    var isOver: Bool { !isOpen && !isServed }

    // MARK: The client

    /// - Parameters:
    ///   - isBlocked: whether someone's lock keeps the statement waiting.
    ///   - execute: what it does to the database, at once; nil if it fails.
    ///   - completion: gets nil if it failed, or if that is not known.
    func submit<Value>(
        isBlocked: (() -> Bool)? = nil, _ execute: @escaping () -> Value?, _ completion: @escaping (Value?) -> Void
    ) {
        guard isOpen else { return completion(nil) }
        submitted.append(
            Statement(
                isBlocked: isBlocked,
                execute: {
                    let value = execute()
                    return { completion(value) }
                }, fail: { completion(nil) }))
    }

    /// The client gives it up; what was submitted may still be carried out.
    func close() { end(notify: false) }

    /// The client is gone without a word.
    func abandon() {
        isOpen = false
        arriving = []
    }

    private func end(notify: Bool) {
        guard isOpen else { return }
        isOpen = false
        let answered = arriving
        arriving = []
        for arrival in answered { arrival.fail?() }
        // What is carried out all the same has nobody to tell.
        for statement in submitted { statement.fail() }
        if notify { onLost() }
    }

    // MARK: The server

    var hasWork: Bool { isServed && (!submitted.isEmpty || !isOpen) }
    var hasArrivals: Bool { isOpen && (!arriving.isEmpty || !isServed) }

    /// The server carries out the next statement; or, with nobody left to answer, ends some time.
    ///
    /// - Parameter isRefused: whether the statement fails, whatever it is.
    /// - Returns: whether the server's process ended.
    func serve(isRefused: Bool = false) -> Bool {
        if submitted.isEmpty || (!isOpen && surroundings.chance(20)) {
            guard !isOpen, surroundings.chance(25) else { return false }
            die()
            return true
        }
        if let isBlocked = submitted[0].isBlocked, isBlocked() {
            let since = blockedSince ?? surroundings.now
            blockedSince = since
            guard surroundings.now - since > .milliseconds(500) else { return false }
            surroundings.note("connection \(number): a statement waited too long for a lock")
            failNext()
        } else if isRefused || (surroundings.trouble(1) && surroundings.chance(25)) {
            surroundings.note("connection \(number): a statement fails")
            failNext()
        } else {
            let statement = submitted.removeFirst()
            let deliver = statement.execute()
            if isOpen { arriving.append(Arrival(deliver: deliver, fail: statement.fail)) }
        }
        blockedSince = nil
        return false
    }

    private func failNext() {
        let statement = submitted.removeFirst()
        if isOpen { arriving.append(Arrival(deliver: statement.fail, fail: statement.fail)) }
    }

    func notify(by process: Int32) {
        if isOpen, isServed { arriving.append(Arrival(deliver: { [unowned self] in self.onNotification(process) }, fail: nil)) }
    }

    /// The server's process ends; what was not carried out never will be.
    func die() {
        isServed = false
        if !isOpen { submitted = [] }
    }

    /// The next answer arrives; after the last one, word that the connection has ended.
    func receive() {
        guard !arriving.isEmpty else { return end(notify: true) }
        arriving.removeFirst().deliver()
    }

    /// The network fails: the client hears of it, whatever was on its way.
    func lose() { end(notify: true) }

    /// The world is over.
    func tearDown() {
        abandon()
        submitted = []
    }
}

/// Keeps a connection: what `PersistentConnection` is to the real driver.
final class SimulatedKeeper {
    private let surroundings: Surroundings
    private let database: SimulatedDatabase
    private let timers: SimulatedTimers
    private var attempt: SimulatedConnection?
    private var open: SimulatedConnection?
    private var failures = 0
    private var isStopped = false

    /// Sets a new connection up, and tells whether it may be used.
    var prepare: (SimulatedConnection, @escaping (Bool) -> Void) -> Void = { $1(true) }
    var opened: (SimulatedConnection) -> Void = { _ in }
    var failed: () -> Void = {}

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers) {
        self.surroundings = surroundings
        self.database = database
        self.timers = timers
    }

    var current: SimulatedConnection? { open?.isOpen == true ? open : nil }

    func start() {
        let connection = database.connect()
        attempt = connection
        connection.onLost = { [unowned self, number = connection.number] in if self.open?.number == number { self.lost() } }
        prepare(connection) { [unowned self, number = connection.number] isReady in
            guard let connection = self.attempt, connection.number == number else { return }
            self.attempt = nil
            guard isReady, connection.isOpen, !self.isStopped else {
                connection.close()
                return self.lost()
            }
            self.failures = 0
            self.open = connection
            self.opened(connection)
        }
    }

    func has(_ connection: SimulatedConnection) -> Bool { open === connection || attempt === connection }

    /// Gives the present connection up, and makes another after a pause.
    func restart() {
        guard let connection = current else { return }
        connection.close()
        lost()
    }

    private func lost() {
        open = nil
        guard !isStopped else { return }
        failures += 1
        _ = timers.schedule(at: surroundings.now + .milliseconds(10 << min(failures, 6))) { [unowned self] in self.start() }
        failed()
    }

    func stop() {
        isStopped = true
        open?.close()
        attempt?.close()
    }

    /// The process is killed.
    func abandon() {
        open?.abandon()
        attempt?.abandon()
    }
}
