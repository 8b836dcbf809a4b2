import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging
import PosixLoop

/// What is asked over the connection for consumers.
struct ConsumerStatements {
    let info: StreamInfo
    let consumers: ConsumerStore
    let registering: ConsumerRegistering
    let parked: ParkedStore
    let registry: PusherRegistry
    let generations: GenerationStore
}

/// The connection to PostgreSQL for consumers, positions and signs of life.
final class ConsumerLink: DatabaseLink<ConsumerStatements>, ConsumerPort {
    private let configuration: DatabaseConfiguration
    private let beatInterval: Duration
    private let readsArchive: Bool
    private let loop: EventLoop
    private let logger: Logger
    private let upkeep: PusherUpkeep
    private(set) var identity: GenerationStore.Identity?
    weak var delegate: (any ConsumerPortDelegate)?
    /// Called with what pushers have noted of when the stream was settled.
    var onMarks: ([SettledMark]) -> Void = { _ in }
    /// This run's number: it names the owner of sessions, and the advisory lock that shows the pusher lives.
    let pusher = Int64.random(in: 1...Int64.max)

    /// - Parameter readsArchive: whether this pusher has an archive, for other pushers to know.
    init(
        _ configuration: DatabaseConfiguration, beatInterval: Duration, readsArchive: Bool, loop: EventLoop, logger: Logger
    ) {
        self.configuration = configuration
        self.beatInterval = beatInterval
        self.readsArchive = readsArchive
        self.loop = loop
        self.logger = logger
        upkeep = PusherUpkeep(configuration, loop: loop, logger: logger)
        // A row that somebody has locked must not hold up everything behind it: the call fails and is made again. What is stored
        // survives a crash; a standby that is away holds nothing up, and where it takes over it is asked what it has.
        super.init(
            configuration.options(
                application: "evt-pusher", settings: ["lock_timeout": "500ms", "synchronous_commit": "local"]), on: loop)
    }

    override func stop() {
        upkeep.stop()
        super.stop()
    }

    func claim(
        _ consumer: ConsumerIdentity, want: EventFilter, isPartial: Bool, readsKeys: Bool, knowing known: PositionBook.Entry?,
        of generation: StreamGeneration, dead: [Int64],
        _ completion: @escaping (Result<ConsumerStore.Claim, PostgresError>) -> Void
    ) {
        submit(completion) { statements, connection in
            guard readsKeys else {
                return statements.consumers.claim(
                    consumer, want: want, isPartial: isPartial, knowing: known, of: generation, for: pusher, dead: dead,
                    on: connection, completion: completion)
            }
            // A statement of its own, which sees what was parked while the claim waited for it.
            var claim: Result<ConsumerStore.Claim, PostgresError>?
            statements.consumers.claim(
                consumer, want: want, isPartial: isPartial, knowing: known, of: generation, for: pusher, dead: dead,
                on: connection
            ) { claim = $0 }
            statements.parked.keys(of: consumer, on: connection) { keys in
                guard case .success(.claimed(var claimed))? = claim else { return completion(claim ?? .failure(.unreachable)) }
                completion(
                    keys.map {
                        claimed.blockedKeys = $0
                        return .claimed(claimed)
                    })
            }
        }
    }

    func release(_ consumer: ConsumerIdentity, epoch: Int64, _ completion: @escaping (Result<Void, PostgresError>) -> Void) {
        submit(completion) { $0.consumers.release(consumer, of: pusher, epoch: epoch, on: $1, completion: completion) }
    }

    func resume(_ consumer: ConsumerIdentity, epoch: Int64, _ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        submit(completion) { $0.consumers.resume(consumer, for: pusher, epoch: epoch, on: $1, completion: completion) }
    }

    func store(
        _ entries: [PositionBook.Entry], of generation: StreamGeneration,
        _ completion: @escaping (Result<[ConsumerIdentity: ConsumerStore.Stored], PostgresError>) -> Void
    ) {
        submit(completion) { statements, connection in
            statements.consumers.store(entries, of: generation, on: connection) { [upkeep] result in
                upkeep.wrote(result, statements.info, on: connection)
                completion(result)
            }
        }
    }

    func confirm(
        _ consumer: ConsumerIdentity, through position: EventID, want: EventFilter, of generation: StreamGeneration,
        _ completion: @escaping (Result<ConsumerStore.Polled?, PostgresError>) -> Void
    ) {
        submit(completion) { statements, connection in
            statements.consumers.confirm(consumer, through: position, want: want, of: generation, on: connection) {
                [upkeep] result in
                upkeep.wrote(result, statements.info, on: connection)
                completion(result)
            }
        }
    }

    func newest(after id: EventID, _ completion: @escaping (Result<EventID?, PostgresError>) -> Void) {
        submit(completion) { $0.consumers.newest(after: id, on: $1, completion: completion) }
    }

    func park(
        _ parking: ParkedStore.Parking, limit: Int, of generation: StreamGeneration,
        _ completion: @escaping (Result<ParkedStore.Parked, PostgresError>) -> Void
    ) { submit(completion) { $0.parked.park(parking, limit: limit, of: generation, on: $1, completion: completion) } }

    func follow(
        _ following: ParkedStore.Following, limit: Int, of generation: StreamGeneration,
        _ completion: @escaping (Result<ParkedStore.Parked, PostgresError>) -> Void
    ) { submit(completion) { $0.parked.follow(following, limit: limit, of: generation, on: $1, completion: completion) } }

    func failed(
        _ failing: Attempts.Failing, of consumer: ConsumerIdentity, epoch: Int64, _ generation: StreamGeneration,
        _ completion: @escaping (Result<Void, PostgresError>) -> Void
    ) { submit(completion) { $0.parked.failed(failing, of: consumer, epoch: epoch, generation, on: $1, completion: completion) } }

    func nextParked(
        of consumer: ConsumerIdentity, epoch: Int64, through cursor: EventID,
        _ completion: @escaping (Result<ParkedStore.Retry?, PostgresError>) -> Void
    ) { submit(completion) { $0.parked.next(of: consumer, epoch: epoch, through: cursor, on: $1, completion: completion) } }

    func retried(
        _ id: EventID, of generation: String, _ outcome: ParkedStore.Retried, _ consumer: ConsumerIdentity, epoch: Int64,
        _ completion: @escaping (Result<String?, PostgresError>) -> Void
    ) {
        submit(completion) {
            $0.parked.retried(id, of: generation, outcome, consumer, epoch: epoch, on: $1, completion: completion)
        }
    }

    func beat(
        settled: EventID, stored: EventID, looked: Duration?, erased: Int64, generation: StreamGeneration,
        _ completion: @escaping (Result<PusherRegistry.Pulse, PostgresError>) -> Void
    ) {
        submit(completion) { statements, connection in
            statements.registry.beat(
                pusher, settled: settled, stored: stored, looked: looked, erased: erased, generation: generation, on: connection
            ) { [upkeep] result in
                upkeep.beat(result, settled: settled, statements, on: connection)
                completion(result)
            }
        }
    }

    func leave(_ completion: @escaping () -> Void) {
        guard let (statements, connection) = present else { return completion() }
        // A database that does not answer must not keep the process: closing fails the statement.
        let deadline = loop.schedule(after: .seconds(1)) { connection.close() }
        statements.registry.leave(pusher, on: connection) {
            deadline.cancel()
            completion()
        }
    }

    func slices(of consumer: ConsumerIdentity, _ completion: @escaping (Result<Int?, PostgresError>) -> Void) {
        submit(completion) { $0.registering.slices(of: consumer, on: $1, completion: completion) }
    }

    func register(
        _ registration: ConsumerRegistering.Registration,
        _ completion: @escaping (Result<ConsumerRegistering.Registered, PostgresError>) -> Void
    ) { Registering(registration, on: self, completion).attempt() }

    func schedule(after delay: Duration, _ body: @escaping () -> Void) { loop.schedule(after: delay, body) }

    /// The error, with who keeps consumers from registering.
    func blaming(_ error: PostgresError, _ completion: @escaping (PostgresError) -> Void) {
        guard let present else { return completion(error) }
        loop.begin(with: Blame(link: self, connection: present.connection, completion: completion)) { blame in
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

    override func prepare(_ connection: Connection) async throws -> ConsumerStatements {
        let info = try await StreamInfo.load(configuration.tables, from: connection, writing: true)
        do {
            let generations = GenerationStore(info)
            let found = try await generations.identity(on: connection)
            let registry = PusherRegistry(info)
            guard
                try await registry.enter(
                    pusher, application: "evt-pusher", interval: beatInterval, readsArchive: readsArchive, on: connection)
            else {
                throw StoreError("this pusher's earlier connection has not ended yet")
            }
            identity = found
            upkeep.opened(info)
            onMarks(try await SettledMarks(info).load(on: connection))
            return ConsumerStatements(
                info: info, consumers: ConsumerStore(info), registering: ConsumerRegistering(info),
                parked: ParkedStore(info), registry: registry,
                generations: generations)
        } catch {
            await upkeep.endFrozen(info, because: error, on: connection)
            throw error
        }
    }

    override func opened(_ connection: Connection) { delegate?.consumersOpened() }
    override func failed(_ error: any Error) { delegate?.consumersFailed(error) }
}

/// What is needed to find out who is to blame for an error.
private struct Blame {
    let link: ConsumerLink
    let connection: Connection
    let completion: (PostgresError) -> Void
}
