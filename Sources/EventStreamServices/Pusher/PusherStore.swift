import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// The pusher's database work besides the tail: consumers, positions, history, signs of life.
///
/// Two connections: pages of history must not hold positions up.
final class PusherStore {
    let loop: EventLoop
    let logger: Logger
    let configuration: Pusher.Configuration
    let work: PersistentConnection
    let reading: PersistentConnection
    var consumers: ConsumerStore?
    var registry: PusherRegistry?
    var reader: QueueReader?
    var generations: GenerationStore?
    var book = PositionBook()
    /// Which stream the two connections have found, and where; and what the reader of the head has.
    var workIdentity: GenerationStore.Identity?
    var readingIdentity: GenerationStore.Identity?
    var trusted: GenerationStore.Identity?
    var mayKeepSequence = true
    var flushTimer: Timer?
    var beatTimer: Timer?
    var told = TroubleLog()
    /// Why consumers, positions or history cannot be reached, or stored; nil if they can.
    var trouble: String? {
        // Without a connection, why there is none. Where no position waits any more none has to be stored: its session may have ended
        // meanwhile.
        errors.work ?? (book.isEmpty ? nil : errors.positions) ?? errors.reading
    }
    var errors: (positions: String?, work: String?, reading: String?)
    private let reconnects = Metric.reconnects.counter()
    var lockedSince: MonotonicTime?
    var liveliness = PusherLiveliness()
    /// The stream, as `work` has found it.
    var info: StreamInfo?
    let upkeep: TableUpkeep
    /// When sizes of tables were last looked at, and marks added since some were removed.
    var sizesLookedAt: MonotonicTime?
    var marksAdded = 0
    var markedAt = EventID.none
    /// When the stream was settled up to which id.
    var times = SettledTimes()
    private var hasTrusted = false
    /// How long ago the last look at the stream's head began that has ended.
    var looked: () -> Duration? = { nil }

    /// This run's number; it names the owner of sessions and the advisory lock that shows we live.
    let pusher = Int64.random(in: 1...Int64.max)

    /// The session with this epoch has ended: another has the consumer, or it is gone.
    var onFenced: (ConsumerIdentity, Int64) -> Void = { _, _ in }
    /// Others have given this pusher up for dead; every session may be theirs.
    var onDeclaredDead: () -> Void = {}
    var onReady: () -> Void = {}
    var onOthers: (Bool) -> Void = { _ in }
    var settled: () -> EventID = { .none }
    /// The settled id that the database is known to have stored.
    var stored = EventID.none
    var onStored: (EventID) -> Void = { _ in }
    /// A connection shows another stream than the head's reader has found, or another state of it.
    var onDisagreement: (String) -> Void = { _ in }

    /// The sessions there are, asked before the database is asked which of them are ours still.
    var sessions: () -> [(ConsumerIdentity, epoch: Int64)] = { [] }
    /// Whether there is a session for the consumer, or one is being claimed.
    var isServed: (ConsumerIdentity) -> Bool = { _ in true }
    /// When the last sign of life reached the database.
    var lastBeat: MonotonicTime?

    /// Others may take over the sessions of a pusher whose signs of life they miss; it must have let go of them by then.
    func mayBeGivenUp(at now: MonotonicTime) -> Bool {
        lastBeat.map { now - $0 > configuration.sessionTimeout / 2 } ?? false
    }

    /// Whether signs of life do not reach the database although there is a connection.
    func isSilent(at now: MonotonicTime) -> Bool {
        usableWork != nil && lastBeat.map { now - $0 > beatInterval * 2 + .seconds(1) } ?? false
    }

    /// Positions are stored at most this long after the answer; well within what the protocol promises.
    let flushDelay = Duration.milliseconds(100)
    var beatInterval: Duration { configuration.sessionTimeout / 5 }

    init(_ configuration: Pusher.Configuration, loop: EventLoop, logger: Logger) {
        self.loop = loop
        self.logger = logger
        self.configuration = configuration
        // A row that somebody has locked must not hold up everything behind it: the call fails and is made again. What is stored
        // survives a crash; a standby that is away holds nothing up, and where it takes over it is asked what it has.
        work = PersistentConnection(
            configuration.database.options(
                application: "evt-pusher", settings: ["lock_timeout": "500ms", "synchronous_commit": "local"]), on: loop)
        reading = PersistentConnection(
            configuration.database.options(application: "evt-pusher history", settings: QueueReader.settings), on: loop)
        upkeep = TableUpkeep(
            configuration.database.options(application: "evt-pusher upkeep", settings: TableRewriting.settings), loop: loop,
            logger: logger)
    }

    func start() {
        work.delegate = self
        reading.delegate = self
        work.start()
        reading.start()
    }

    /// Stores what is left, leaves the registry, closes.
    func stop() async {
        flushTimer?.cancel()
        beatTimer?.cancel()
        if let connection = usableWork, let registry {
            await withCheckedContinuation { continuation in
                // A database that does not answer must not keep the process: closing fails the statement.
                let deadline = loop.schedule(after: .seconds(1)) { connection.close() }
                // Everything submitted before has been carried out when this has.
                registry.leave(pusher, on: connection) {
                    deadline.cancel()
                    continuation.resume()
                }
            }
        }
        upkeep.stop()
        work.stop()
        reading.stop()
    }

    var isReady: Bool { usableWork != nil && usableReading != nil }

    /// Positions of one database must not get into another: what the connection leads to is what is being read.
    var usableWork: Connection? { trusted != nil && workIdentity == trusted ? work.current : nil }
    private var usableReading: Connection? { trusted != nil && readingIdentity == trusted ? reading.current : nil }

    /// The head's reader has lost its connection: until it has looked again nobody knows what the database is.
    func distrust() { trusted = nil }

    /// The head's reader has found which stream this is.
    ///
    /// - Parameter isAnew: whether positions noted before are of another generation.
    func trust(_ identity: GenerationStore.Identity, isAnew: Bool) {
        if isAnew { (book, stored) = (PositionBook(), .none) }
        // What was loaded before anything was trusted is of this one.
        if isAnew, hasTrusted { times = SettledTimes() }
        hasTrusted = true
        trusted = identity
        let elsewhere = LookAgain(description: "this connection leads elsewhere than the one that reads the head")
        if work.current != nil {
            if workIdentity == identity { begin() } else { work.restart(because: elsewhere) }
        }
        if reading.current != nil, readingIdentity != identity { reading.restart(because: elsewhere) }
        if isReady, told.isGoodNews() {
            logger.info("connected to the database", metadata: [.database: "\(work.current?.host ?? "")"])
        }
    }

    private func begin() {
        beat()
        flush()
    }

    func unavailable<Value>() -> Result<Value, PostgresError> {
        .failure(PostgresError(.connectionLost, "the database cannot be reached"))
    }

    // MARK: Consumers

    /// - Parameter known: what the session before has confirmed, if there was one here.
    func claim(
        _ consumer: ConsumerIdentity, want: EventFilter, knowing known: PositionBook.Entry?,
        completion: @escaping (Result<ConsumerStore.Claim, PostgresError>) -> Void
    ) {
        guard let connection = usableWork, let consumers, let trusted else { return completion(unavailable()) }
        let dead = liveliness.dead(besides: pusher)
        consumers.claim(
            consumer, want: want, knowing: book.newest(known, of: consumer), of: trusted.generation, for: pusher, dead: dead,
            on: connection, completion: completion)
    }

    /// Takes back what was released, unless another pusher has claimed it.
    func resume(_ consumer: ConsumerIdentity, epoch: Int64, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        guard let connection = usableWork, let consumers else { return completion(unavailable()) }
        consumers.resume(consumer, for: pusher, epoch: epoch, on: connection, completion: completion)
    }

    /// - Parameter attempts: what somebody else does to the row at the same time is no error of the poller's.
    func confirm(
        _ consumer: ConsumerIdentity, through position: EventID, want: EventFilter, attempts: Int = 3,
        completion: @escaping (Result<EventID?, PostgresError>) -> Void
    ) {
        guard let connection = usableWork, let consumers, let asked = trusted else { return completion(unavailable()) }
        consumers.confirm(consumer, through: position, want: want, of: asked.generation, on: connection) {
            [unowned self] result in
            guard case .failure(let error) = result, error.code == .server, error.isRetriable, attempts > 1 else {
                self.lookAtSizes(on: connection)
                return completion(result)
            }
            self.loop.schedule(after: .milliseconds(200)) { [weak self] in
                guard let self else { return }
                guard self.trusted == asked else { return completion(result) }
                self.confirm(consumer, through: position, want: want, attempts: attempts - 1, completion: completion)
            }
        }
    }

    func newest(after id: EventID, completion: @escaping (Result<EventID?, PostgresError>) -> Void) {
        guard let connection = usableWork, let consumers else { return completion(unavailable()) }
        consumers.newest(after: id, on: connection, completion: completion)
    }

    // MARK: History

    func visible(after id: EventID, completion: @escaping (Result<EventIDSet, PostgresError>) -> Void) {
        guard let connection = usableReading, let reader else { return completion(unavailable()) }
        reader.visible(after: id, on: connection, completion: completion)
    }

    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch = .limited,
        limits: QueueReader.Limits, completion: @escaping (Result<QueueRows, PostgresError>) -> Void
    ) {
        guard let connection = usableReading, let reader else { return completion(unavailable()) }
        reader.read(
            on: connection, after: after, through: through, want: want, stretch: stretch, limits: limits,
            completion: completion)
    }
}

extension PusherStore: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        let info = try await StreamInfo.load(configuration.database.tables, from: connection, writing: true)
        do {
            try await prepare(connection, of: keeper, info)
        } catch {
            await endFrozen(info, because: error, on: connection)
            throw error
        }
    }

    private func prepare(_ connection: Connection, of keeper: PersistentConnection, _ info: StreamInfo) async throws {
        let generations = GenerationStore(info)
        let identity = try await generations.identity(on: connection)
        guard keeper === work else {
            (reader, readingIdentity) = (QueueReader(info.tables), identity)
            return
        }
        let registry = PusherRegistry(info)
        guard try await registry.enter(pusher, application: "evt-pusher", interval: beatInterval, on: connection)
        else {
            throw StoreError("this pusher's earlier connection has not ended yet")
        }
        consumers = ConsumerStore(info)
        (self.registry, self.generations, workIdentity) = (registry, generations, identity)
        (liveliness, sizesLookedAt) = (PusherLiveliness(), nil)
        upkeep.rewriting = { TableRewriting($0, of: info) }
        self.info = info
        times.loaded(try await SettledMarks(info).load(on: connection))
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) {
        if keeper === work { errors.work = nil } else { errors.reading = nil }
        guard let trusted else { return }
        guard (keeper === work ? workIdentity : readingIdentity) == trusted else {
            return onDisagreement("another connection leads to another database, or to another state of it")
        }
        if keeper === work { begin() }
        if isReady, told.isGoodNews() {
            logger.info("connected to the database", metadata: [.database: "\(connection.host)"])
        }
        onReady()
    }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        if keeper === work { beatTimer?.cancel() }
        if !(error is LookAgain) {
            reconnects.add()
            if keeper === work { errors.work = "\(error)" } else { errors.reading = "\(error)" }
        }
        // Of a database that cannot be reached the tail tells; one that refuses only this is told here.
        let isRefused = (error as? PostgresError)?.code == .server || error is StoreError
        guard isRefused, told.isNews("\(error)") else { return }
        logger.warning("no database for consumers or history; trying again", metadata: [.error: "\(error)"])
    }
}
