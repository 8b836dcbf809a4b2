import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// The pusher's database work besides the tail: consumers, positions, history, signs of life.
///
/// Two connections: pages of history must not hold positions up.
final class PusherStore {
    private let loop: EventLoop
    private let logger: Logger
    private let configuration: Pusher.Configuration
    private let work: PersistentConnection
    private let reading: PersistentConnection
    private var consumers: ConsumerStore?
    private var registry: PusherRegistry?
    private var reader: QueueReader?
    private var book = PositionBook()
    private var flushTimer: Timer?
    private var beatTimer: Timer?
    /// When each other pusher's beat was last seen to change.
    private var beats: [Int64: (beat: Int64, seen: MonotonicTime)] = [:]

    /// This run's number; it names the owner of sessions and the advisory lock that shows we live.
    let pusher = Int64.random(in: 1...Int64.max)

    /// The session with this epoch has ended: another has the consumer, or it is gone.
    var onFenced: (ConsumerIdentity, Int64) -> Void = { _, _ in }
    /// Others have given this pusher up for dead; every session may be theirs.
    var onDeclaredDead: () -> Void = {}
    var onReady: () -> Void = {}
    var onOthers: (Bool) -> Void = { _ in }
    var settled: () -> EventID = { .none }

    /// The sessions there are, asked before the database is asked which of them are ours still.
    var sessions: () -> [(ConsumerIdentity, epoch: Int64)] = { [] }
    /// Whether there is a session for the consumer, or one is being claimed.
    var isServed: (ConsumerIdentity) -> Bool = { _ in true }
    /// When the last sign of life reached the database.
    private var lastBeat: MonotonicTime?

    /// Others may take over the sessions of a pusher whose signs of life they miss; it must have let go of them by then.
    func mayBeGivenUp(at now: MonotonicTime) -> Bool {
        lastBeat.map { now - $0 > configuration.sessionTimeout / 2 } ?? false
    }

    /// Positions are stored at most this long after the answer; well within what the protocol promises.
    private let flushDelay = Duration.milliseconds(100)
    private var beatInterval: Duration { configuration.sessionTimeout / 5 }
    private var deadAfter: Duration { configuration.sessionTimeout * 3 / 5 }

    init(_ configuration: Pusher.Configuration, loop: EventLoop, logger: Logger) {
        self.loop = loop
        self.logger = logger
        self.configuration = configuration
        // A row that somebody has locked must not hold up everything behind it: the call fails and is made again.
        work = PersistentConnection(
            configuration.database.options(application: "evt-pusher", settings: ["lock_timeout": "500ms"]), on: loop)
        reading = PersistentConnection(
            configuration.database.options(application: "evt-pusher history", settings: QueueReader.settings), on: loop)
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
        if let connection = work.current, let registry {
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
        work.stop()
        reading.stop()
    }

    var isReady: Bool { work.current != nil && reading.current != nil }

    private func unavailable<Value>() -> Result<Value, PostgresError> {
        .failure(PostgresError(.connectionLost, "the database cannot be reached"))
    }

    // MARK: Consumers

    func register(_ consumer: ConsumerIdentity, completion: @escaping (Result<Void, PostgresError>) -> Void) {
        guard let connection = work.current, let consumers else { return completion(unavailable()) }
        consumers.register(consumer, on: connection, completion: completion)
    }

    func claim(_ consumer: ConsumerIdentity, completion: @escaping (Result<ConsumerStore.Claim, PostgresError>) -> Void) {
        guard let connection = work.current, let consumers else { return completion(unavailable()) }
        let now = MonotonicTime.now
        let dead = beats.filter { $0.key != pusher && now - $0.value.seen > deadAfter }.map(\.key)
        consumers.claim(consumer, for: pusher, dead: dead, on: connection, completion: completion)
    }

    /// Stores the session's last position and gives the consumer up.
    func release(_ consumer: ConsumerIdentity, epoch: Int64, position: EventID) {
        book.forget(consumer)
        guard let connection = work.current, let consumers else { return }
        consumers.store([.init(consumer: consumer, epoch: epoch, position: position)], on: connection) { _ in }
        consumers.release(consumer, of: pusher, epoch: epoch, on: connection) { _ in }
    }

    /// Takes back what was released, unless another pusher has claimed it.
    func resume(_ consumer: ConsumerIdentity, epoch: Int64, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        guard let connection = work.current, let consumers else { return completion(unavailable()) }
        consumers.resume(consumer, for: pusher, epoch: epoch, on: connection, completion: completion)
    }

    /// - Parameter attempts: what somebody else does to the row at the same time is no error of the poller's.
    func confirm(
        _ consumer: ConsumerIdentity, through position: EventID, attempts: Int = 3,
        completion: @escaping (Result<EventID?, PostgresError>) -> Void
    ) {
        guard let connection = work.current, let consumers else { return completion(unavailable()) }
        consumers.confirm(consumer, through: position, on: connection) { [unowned self] result in
            guard case .failure(let error) = result, error.code == .server, error.isRetriable, attempts > 1 else {
                return completion(result)
            }
            self.loop.schedule(after: .milliseconds(200)) { [weak self] in
                self?.confirm(consumer, through: position, attempts: attempts - 1, completion: completion)
            }
        }
    }

    func newest(after id: EventID, completion: @escaping (Result<EventID?, PostgresError>) -> Void) {
        guard let connection = work.current, let consumers else { return completion(unavailable()) }
        consumers.newest(after: id, on: connection, completion: completion)
    }

    // MARK: History

    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch = .limited,
        limits: QueueReader.Limits, completion: @escaping (Result<QueueRows, PostgresError>) -> Void
    ) {
        guard let connection = reading.current, let reader else { return completion(unavailable()) }
        reader.read(
            on: connection, after: after, through: through, want: want, stretch: stretch, limits: limits,
            completion: completion)
    }

    // MARK: Positions

    func note(_ consumer: ConsumerIdentity, epoch: Int64, position: EventID) {
        book.note(consumer, epoch: epoch, position: position)
        guard flushTimer == nil else { return }
        flushTimer = loop.schedule(after: flushDelay) { [weak self] in
            guard let self else { return }
            self.flushTimer = nil
            self.flush()
        }
    }

    private func flush() {
        guard let connection = work.current, let consumers else { return }
        let entries = book.take()
        guard !entries.isEmpty else { return }
        consumers.store(entries, on: connection) { [unowned self] result in
            switch result {
            case .success(let outcome):
                self.book.finished(Set(outcome.filter { $0.value != .locked }.map(\.key)))
                for entry in entries where outcome[entry.consumer] == .fenced {
                    self.onFenced(entry.consumer, entry.epoch)
                }
            case .failure(let error):
                self.book.finished([])
                self.logger.warning("positions could not be stored; trying again", metadata: [.error: "\(error)"])
            }
            guard self.book.hasUnsent, self.flushTimer == nil, self.work.current != nil else { return }
            self.flushTimer = self.loop.schedule(after: self.flushDelay) { [weak self] in
                guard let self else { return }
                self.flushTimer = nil
                self.flush()
            }
        }
    }

    // MARK: Signs of life

    private func beat() {
        beatTimer?.cancel()
        guard let connection = work.current, let registry else { return }
        let begun = MonotonicTime.now
        let present = sessions()
        registry.beat(pusher, settled: settled(), on: connection) { [unowned self] result in
            // A lost connection begins anew with a sign of life; a statement that failed is tried again soon.
            guard case .success(let pulse) = result else { return self.beat(after: min(self.beatInterval, .milliseconds(500))) }
            self.beat(after: self.beatInterval)
            guard pulse.isAlive else {
                self.logger.warning("other pushers gave this one up for dead; its sessions begin anew")
                self.onDeclaredDead()
                return self.work.restart(because: StoreError("declared dead"))
            }
            self.lastBeat = begun
            self.seen(pulse.beats, at: .now)
            for (consumer, epoch) in present where pulse.owned[consumer] != epoch { self.onFenced(consumer, epoch) }
            // What a lost answer or an outage left behind would keep other pushers out for ever.
            for (consumer, epoch) in pulse.owned where !self.isServed(consumer) {
                self.consumers?.release(consumer, of: self.pusher, epoch: epoch, on: connection) { _ in }
            }
        }
    }

    private func beat(after pause: Duration) {
        beatTimer?.cancel()
        beatTimer = loop.schedule(after: pause) { [weak self] in self?.beat() }
    }

    private func seen(_ present: [Int64: Int64], at now: MonotonicTime) {
        for (pusher, beat) in present where beats[pusher]?.beat != beat { beats[pusher] = (beat, now) }
        beats = beats.filter { present[$0.key] != nil }
        onOthers(present.keys.contains { $0 != pusher })
    }
}

extension PusherStore: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        let info = try await StreamInfo.load(configuration.database.tables, from: connection)
        guard keeper === work else {
            reader = QueueReader(info.tables)
            return
        }
        let registry = PusherRegistry(info.tables)
        guard try await registry.enter(pusher, application: "evt-pusher", on: connection) else {
            throw StoreError("this pusher's earlier connection has not ended yet")
        }
        consumers = ConsumerStore(info)
        self.registry = registry
        beats = [:]
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) {
        if keeper === work {
            logger.info("connected to the database", metadata: [.database: "\(configuration.database)"])
            beat()
            flush()
        }
        onReady()
    }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        if keeper === work { beatTimer?.cancel() }
        logger.debug("no database for consumers or history", metadata: [.error: "\(error)", .retryIn: "\(pause)"])
    }
}
