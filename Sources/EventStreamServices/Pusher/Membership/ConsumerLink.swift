import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// The connection to PostgreSQL for consumers, positions and signs of life.
final class ConsumerLink: ConsumerPort {
    /// What can be asked over the present connection.
    struct Statements {
        let info: StreamInfo
        let consumers: ConsumerStore
        let registry: PusherRegistry
        let generations: GenerationStore
    }

    private let database: PersistentConnection
    private let configuration: DatabaseConfiguration
    private let beatInterval: Duration
    private let loop: EventLoop
    private let logger: Logger
    private let upkeep: PusherUpkeep
    private var statements: Statements?
    private(set) var identity: GenerationStore.Identity?
    weak var delegate: (any ConsumerPortDelegate)?
    /// Called with what pushers have noted of when the stream was settled.
    var onMarks: ([SettledMark]) -> Void = { _ in }
    /// This run's number: it names the owner of sessions, and the advisory lock that shows the pusher lives.
    let pusher = Int64.random(in: 1...Int64.max)

    init(_ configuration: DatabaseConfiguration, beatInterval: Duration, loop: EventLoop, logger: Logger) {
        self.configuration = configuration
        self.beatInterval = beatInterval
        self.loop = loop
        self.logger = logger
        // A row that somebody has locked must not hold up everything behind it: the call fails and is made again. What is stored
        // survives a crash; a standby that is away holds nothing up, and where it takes over it is asked what it has.
        database = PersistentConnection(
            configuration.options(
                application: "evt-pusher", settings: ["lock_timeout": "500ms", "synchronous_commit": "local"]), on: loop)
        upkeep = PusherUpkeep(configuration, loop: loop, logger: logger)
    }

    var isConnected: Bool { database.current != nil }
    var host: String { database.current?.host ?? "" }

    func start() {
        database.delegate = self
        database.start()
    }

    func stop() {
        upkeep.stop()
        database.stop()
    }

    func restart(because error: any Error) { database.restart(because: error) }

    private func with<Value>(
        _ completion: @escaping (Result<Value, PostgresError>) -> Void, _ submit: (Statements, Connection) -> Void
    ) {
        guard let connection = database.current, let statements else { return completion(.failure(.unreachable)) }
        submit(statements, connection)
    }

    func claim(
        _ consumer: ConsumerIdentity, want: EventFilter, knowing known: PositionBook.Entry?, of generation: StreamGeneration,
        dead: [Int64], _ completion: @escaping (Result<ConsumerStore.Claim, PostgresError>) -> Void
    ) {
        with(completion) {
            $0.consumers.claim(
                consumer, want: want, knowing: known, of: generation, for: pusher, dead: dead, on: $1, completion: completion)
        }
    }

    func release(_ consumer: ConsumerIdentity, epoch: Int64, _ completion: @escaping (Result<Void, PostgresError>) -> Void) {
        with(completion) { $0.consumers.release(consumer, of: pusher, epoch: epoch, on: $1, completion: completion) }
    }

    func resume(_ consumer: ConsumerIdentity, epoch: Int64, _ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        with(completion) { $0.consumers.resume(consumer, for: pusher, epoch: epoch, on: $1, completion: completion) }
    }

    func store(
        _ entries: [PositionBook.Entry], of generation: StreamGeneration,
        _ completion: @escaping (Result<[ConsumerIdentity: ConsumerStore.Stored], PostgresError>) -> Void
    ) {
        with(completion) { statements, connection in
            statements.consumers.store(entries, of: generation, on: connection) { [upkeep] result in
                upkeep.wrote(result, statements.info, on: connection)
                completion(result)
            }
        }
    }

    func confirm(
        _ consumer: ConsumerIdentity, through position: EventID, want: EventFilter, of generation: StreamGeneration,
        _ completion: @escaping (Result<EventID?, PostgresError>) -> Void
    ) {
        with(completion) { statements, connection in
            statements.consumers.confirm(consumer, through: position, want: want, of: generation, on: connection) {
                [upkeep] result in
                upkeep.wrote(result, statements.info, on: connection)
                completion(result)
            }
        }
    }

    func newest(after id: EventID, _ completion: @escaping (Result<EventID?, PostgresError>) -> Void) {
        with(completion) { $0.consumers.newest(after: id, on: $1, completion: completion) }
    }

    func beat(
        settled: EventID, stored: EventID, looked: Duration?, generation: StreamGeneration,
        _ completion: @escaping (Result<PusherRegistry.Pulse, PostgresError>) -> Void
    ) {
        with(completion) { statements, connection in
            statements.registry.beat(
                pusher, settled: settled, stored: stored, looked: looked, generation: generation, on: connection
            ) { [upkeep] result in
                upkeep.beat(result, settled: settled, statements, on: connection)
                completion(result)
            }
        }
    }

    func leave(_ completion: @escaping () -> Void) {
        guard let connection = database.current, let statements else { return completion() }
        // A database that does not answer must not keep the process: closing fails the statement.
        let deadline = loop.schedule(after: .seconds(1)) { connection.close() }
        statements.registry.leave(pusher, on: connection) {
            deadline.cancel()
            completion()
        }
    }

    func register(
        _ consumer: ConsumerIdentity, want: EventFilter, limit: Int, _ completion: @escaping (Result<Bool, PostgresError>) -> Void
    ) {
        Registering(consumer, want: want, limit: limit, on: self, completion).attempt()
    }

    /// The present connection, and what to ask over it.
    var present: (Statements, Connection)? {
        if let statements, let connection = database.current { (statements, connection) } else { nil }
    }

    func schedule(after delay: Duration, _ body: @escaping () -> Void) { loop.schedule(after: delay, body) }

    /// The error, with who keeps consumers from registering.
    func blaming(_ error: PostgresError, _ completion: @escaping (PostgresError) -> Void) {
        guard let connection = database.current else { return completion(error) }
        loop.begin(with: Blame(link: self, connection: connection, completion: completion)) { blame in
            var blamed = error
            do {
                let who = try await Hindrance.registering(blame.link.configuration.tables, from: blame.connection)
                if let text = who.text { blamed.message += ": \(text)" }
            } catch {
                blame.link.logger.debug(
                    "it could not be seen who keeps consumers from registering", metadata: [.error: "\(error)"])
            }
            blame.completion(blamed)
        }
    }
}

/// What is needed to find out who is to blame for an error.
private struct Blame {
    let link: ConsumerLink
    let connection: Connection
    let completion: (PostgresError) -> Void
}

extension ConsumerLink: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        let info = try await StreamInfo.load(configuration.tables, from: connection, writing: true)
        do {
            let generations = GenerationStore(info)
            let found = try await generations.identity(on: connection)
            let registry = PusherRegistry(info)
            guard try await registry.enter(pusher, application: "evt-pusher", interval: beatInterval, on: connection) else {
                throw StoreError("this pusher's earlier connection has not ended yet")
            }
            identity = found
            statements = Statements(info: info, consumers: ConsumerStore(info), registry: registry, generations: generations)
            upkeep.opened(info)
            onMarks(try await SettledMarks(info).load(on: connection))
        } catch {
            await upkeep.endFrozen(info, because: error, on: connection)
            throw error
        }
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) { delegate?.consumersOpened() }
    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        delegate?.consumersFailed(error)
    }
}
