import EventLoop
import EventStore
import EventStream
import Postgres

@testable import EventStreamServices

/// A process's time and turns.
final class SimulatedLoop: LoopPort {
    private final class Call: ScheduledCall {
        let (number, timers): (Int, SimulatedTimers)
        init(_ number: Int, _ timers: SimulatedTimers) { (self.number, self.timers) = (number, timers) }
        func cancel() { timers.cancel(number) }
    }

    private let surroundings: Surroundings
    private let timers: SimulatedTimers

    init(_ surroundings: Surroundings, _ timers: SimulatedTimers) { (self.surroundings, self.timers) = (surroundings, timers) }

    var now: MonotonicTime { surroundings.now }
    var wallClock: EventTimestamp { EventTimestamp(microseconds: Int64((now - start) / .microseconds(1))) }

    func after(_ delay: Duration, _ body: @escaping () -> Void) -> any ScheduledCall {
        Call(timers.schedule(at: surroundings.now + delay, body), timers)
    }

    func soon(_ body: @escaping () -> Void) { _ = timers.schedule(at: surroundings.now, body) }
}

/// A kept connection to the simulated database.
class SimulatedPort: DatabasePort {
    let surroundings: Surroundings
    let database: SimulatedDatabase
    let keeper: SimulatedKeeper
    /// Which stream the present connection leads to.
    var identity: GenerationStore.Identity?
    private var error: any Error = PostgresError(.connectionLost, "lost")

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers) {
        self.surroundings = surroundings
        self.database = database
        keeper = SimulatedKeeper(surroundings, database, timers)
    }

    var isConnected: Bool { keeper.current != nil }
    func start() { keeper.start() }
    func stop() { keeper.stop() }

    func restart(because error: any Error) {
        self.error = error
        keeper.restart()
    }

    /// Why the connection was lost.
    func takeError() -> any Error {
        defer { error = PostgresError(.connectionLost, "lost") }
        return error
    }

    /// - Parameter execute: what the statement does to the database, at once; nil if it fails.
    func submit<Value>(
        isBlocked: (() -> Bool)? = nil, _ execute: @escaping (SimulatedConnection) -> Value?,
        _ completion: @escaping (Result<Value, PostgresError>) -> Void
    ) {
        guard let connection = keeper.current else { return completion(.failure(.unreachable)) }
        connection.submit(isBlocked: isBlocked, { execute(connection) }) { value in
            let failure = PostgresError(connection.isOpen ? .server : .connectionLost, "a statement failed")
            completion(value.map { .success($0) } ?? .failure(failure))
        }
    }
}

/// The head's connection. Mistakes of the order in which things are asked are planted here.
final class SimulatedHeadPort: SimulatedPort, HeadPort {
    weak var delegate: (any HeadPortDelegate)?
    private let limits: (rows: Int, bytes: Int)
    private var found: HeadStart?
    /// The life of the database that the connection leads to.
    private(set) var era = 0
    /// Rows that were read too early.
    private var early: SimulatedRows?
    private var takesLatchLate = false

    init(
        _ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers, limits: (rows: Int, bytes: Int)
    ) {
        self.limits = limits
        super.init(surroundings, database, timers)
        keeper.prepare = { [unowned self] in self.prepare($0, $1) }
        keeper.opened = { [unowned self] connection in
            connection.onNotification = { [unowned self] in self.delegate?.headNotified() }
            if let found = self.found { self.delegate?.headOpened(found) }
        }
        keeper.failed = { [unowned self] in self.delegate?.headFailed(self.takeError()) }
    }

    /// Which stream it is, LISTEN, what is known, and only then the look at the holders.
    private func prepare(_ connection: SimulatedConnection, _ done: @escaping (Bool) -> Void) {
        (early, takesLatchLate) = (nil, false)
        let (database, memory) = (database, delegate?.memory ?? StreamMemory())
        connection.submit({
            database.establish(remembering: memory)
        }) { [unowned self] finding in
            guard let finding else { return done(false) }
            self.era = database.queue.era
            connection.submit({
                connection.isListening = true
            }) { [unowned self] listens in
                guard listens != nil else { return done(false) }
                connection.submit({
                    database.knownFloor
                }) { [unowned self] known in
                    guard let known else { return done(false) }
                    connection.submit({
                        database.look()
                    }) { [unowned self] look in
                        guard let look else { return done(false) }
                        let floor = EventID(known)
                        self.found = HeadStart(
                            finding: finding, floor: look.holders.isEmpty ? max(floor, look.newest) : floor,
                            writersMayPrepare: database.writersMayPrepare, table: "evt_queue")
                        done(true)
                    }
                }
            }
        }
    }

    func takeWakerRole(_ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        submit({ [database] in database.takeWakerRole($0) }, completion)
    }

    func takeLatch(_ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        takesLatchLate = surroundings.fault == .latchAfterRead
        submit({ [database, takesLatchLate] in takesLatchLate ? true : database.takeLatch($0) }, completion)
    }

    func releaseLatch(_ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        submit({ [database] in database.releaseLatch($0) }) { completion($0.map { _ in true }) }
    }

    func look(newestAfter settled: EventID?, _ completion: @escaping (Result<TailQueries.Look, PostgresError>) -> Void) {
        if surroundings.fault == .locksAfterRead, let settled = settled ?? delegate?.memory.recent.last?.id {
            read(after: settled, limits) { [unowned self] in self.early = try? $0.get() }
        }
        // In the simulation answers take long; how dear the look is, is not at issue here.
        submit({ [database] _ in database.look() }) {
            completion($0.map { .init(newest: settled == nil ? nil : $0.newest, holders: $0.holders, drawn: nil) })
        }
    }

    func read(after: EventID, _ completion: @escaping (Result<any FetchedRows, PostgresError>) -> Void) {
        let early = early
        self.early = nil
        read(after: after, limits) { [unowned self] result in
            if self.takesLatchLate { self.submit({ [database] in database.takeLatch($0) }) { _ in } }
            self.takesLatchLate = false
            guard let early, early.after == after else { return completion(result.map { $0 as any FetchedRows }) }
            completion(.success(early))
        }
    }

    private func read(
        after: EventID, _ limits: (rows: Int, bytes: Int), _ completion: @escaping (Result<SimulatedRows, PostgresError>) -> Void
    ) {
        submit(
            { [database] _ in
                database.page(after: after, through: EventID(.max), types: nil, stretch: nil, limits: limits)
            }, completion)
    }

    func advance(beyond id: EventID, _ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        surroundings.broken("nobody supplies ids, and \(id) is said to be beyond the sequence")
    }

    func notify() { submit({ [database] _ in database.notify() }) { _ in } }
    func describe(_ holders: Set<SettledHorizon.Holder>, _ completion: @escaping (String) -> Void) { completion("writers") }
}

/// The connection for consumers, positions and signs of life.
final class SimulatedConsumerPort: SimulatedPort, ConsumerPort {
    weak var delegate: (any ConsumerPortDelegate)?
    let pusher: Int64
    let host = "simulated"
    private let interval: Duration

    init(
        _ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers, pusher: Int64, interval: Duration
    ) {
        self.pusher = pusher
        self.interval = interval
        super.init(surroundings, database, timers)
        keeper.prepare = { [unowned self] in self.enter($0, $1) }
        keeper.opened = { [unowned self] _ in self.delegate?.consumersOpened() }
        keeper.failed = { [unowned self] in self.delegate?.consumersFailed(self.takeError()) }
    }

    private func enter(_ connection: SimulatedConnection, _ done: @escaping (Bool) -> Void) {
        let (database, pusher) = (database, pusher)
        connection.submit({
            database.identity
        }) { [unowned self] identity in
            guard let identity else { return done(false) }
            connection.submit({
                database.showLife(pusher, connection)
            }) { isOurs in
                guard isOurs == true else { return done(false) }
                connection.submit({
                    database.enter(pusher)
                }) { entered in
                    guard entered != nil else { return done(false) }
                    connection.submit({
                        database.forgetTheDead(but: pusher)
                    }) { [unowned self] forgotten in
                        self.identity = identity
                        done(forgotten != nil)
                    }
                }
            }
        }
    }

    func register(
        _ consumer: ConsumerIdentity, want: EventFilter, limit: Int, _ completion: @escaping (Result<Bool, PostgresError>) -> Void
    ) {
        submit(isBlocked: { [database] in database.isDiscarding }, { [database] _ in database.register(consumer) }) {
            completion($0.map { true })
        }
    }

    func claim(
        _ consumer: ConsumerIdentity, want: EventFilter, knowing known: PositionBook.Entry?, of generation: StreamGeneration,
        dead: [Int64], _ completion: @escaping (Result<ConsumerStore.Claim, PostgresError>) -> Void
    ) {
        submit(
            { [database, pusher] _ in
                database.claim(consumer, for: pusher, knowing: known, of: generation, dead: dead)
            }, completion)
    }

    func release(_ consumer: ConsumerIdentity, epoch: Int64, _ completion: @escaping (Result<Void, PostgresError>) -> Void) {
        submit({ [database, pusher] _ in database.release(consumer, of: pusher, epoch: epoch) }, completion)
    }

    func resume(_ consumer: ConsumerIdentity, epoch: Int64, _ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        submit({ [database, pusher] _ in database.resume(consumer, for: pusher, epoch: epoch) }, completion)
    }

    func store(
        _ entries: [PositionBook.Entry], of generation: StreamGeneration,
        _ completion: @escaping (Result<[ConsumerIdentity: ConsumerStore.Stored], PostgresError>) -> Void
    ) {
        submit({ [database, pusher] _ in database.store(entries, by: pusher, of: generation) }, completion)
    }

    func confirm(
        _ consumer: ConsumerIdentity, through position: EventID, want: EventFilter, of generation: StreamGeneration,
        _ completion: @escaping (Result<EventID?, PostgresError>) -> Void
    ) {
        submit({ [database] _ in .some(database.confirm(consumer, through: position, of: generation)) }, completion)
    }

    func newest(after id: EventID, _ completion: @escaping (Result<EventID?, PostgresError>) -> Void) {
        submit({ [database] _ in .some(database.newest > id ? database.newest : nil) }, completion)
    }

    func beat(
        settled: EventID, stored: EventID, looked: Duration?, generation: StreamGeneration,
        _ completion: @escaping (Result<PusherRegistry.Pulse, PostgresError>) -> Void
    ) {
        let (database, pusher, interval) = (database, pusher, interval)
        submit(
            isBlocked: { database.isBeatBlocked(settled: settled) },
            { _ in database.beat(pusher, settled: settled, stored: stored, of: generation, interval: interval) }
        ) { [surroundings] result in
            if case .failure(let error) = result, error.code == .server, surroundings.fault == .noBeatAfterFailure { return }
            completion(result)
        }
    }

    func leave(_ completion: @escaping () -> Void) {
        submit({ [database, pusher] _ in database.leave(pusher) }) { _ in completion() }
    }
}

/// The connection that reads history. Mistakes of how far a read goes are planted here.
final class SimulatedHistoryPort: SimulatedPort, HistoryPort {
    weak var delegate: (any HistoryPortDelegate)?
    private let longestScan: Int64
    /// Reads under way, of those that take turns; and pages of theirs that are still in memory.
    private var reads = 0
    private(set) var pages: [Page] = []

    struct Page { weak var page: EventPage? }

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers, longestScan: Int64) {
        self.longestScan = longestScan
        super.init(surroundings, database, timers)
        keeper.prepare = { [unowned self] connection, done in
            connection.submit({ [database] in
                database.identity
            }) { [unowned self] identity in
                self.identity = identity
                done(identity != nil)
            }
        }
        keeper.opened = { [unowned self] _ in self.delegate?.historyOpened() }
        keeper.failed = { [unowned self] in self.delegate?.historyFailed(self.takeError()) }
    }

    func visible(after id: EventID, _ completion: @escaping (Result<EventIDSet, PostgresError>) -> Void) {
        let isBlind = surroundings.fault == .liveKnowsNothing
        submit({ [database] _ in isBlind ? EventIDSet() : database.visible(after: id) }, completion)
    }

    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<any FetchedRows, PostgresError>) -> Void
    ) {
        let fault = surroundings.fault
        let isWhole = stretch == .whole && fault != .resendCutShort
        if stretch == .limited { reads += 1 }
        // An archiver may ask again while a pusher still reads for it.
        if reads > 2 + surroundings.polls + 2 * surroundings.archivers {
            surroundings.broken("\(reads) reads of history are under way")
        }
        let types = want.types.map { types in SimulatedEvent.types.map { types.contains($0) } }
        submit({ [database, longestScan] _ in
            let end = fault == .historyBeyondSettled ? max(through, database.newest) : through
            return database.page(
                after: after, through: end, types: types, stretch: isWhole ? nil : longestScan,
                limits: (limits.rows, limits.bytes))
        }) { [unowned self] result in
            if stretch == .limited { self.reads -= 1 }
            completion(
                result.map { rows in
                    guard stretch == .limited else { return rows }
                    return fault == .rejoinOffByOne ? rows.claimingOneMore : rows
                })
        }
    }
}
