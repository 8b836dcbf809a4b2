import EventStream
import EventStreamDatabase
import LibPQ

@testable import EventStreamPusher

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

    func slices(of consumer: ConsumerIdentity, _ completion: @escaping (Result<Int?, PostgresError>) -> Void) {
        submit({ [database] _ in .some(database.slices(of: consumer)) }, completion)
    }

    func register(
        _ registration: ConsumerRegistering.Registration,
        _ completion: @escaping (Result<ConsumerRegistering.Registered, PostgresError>) -> Void
    ) {
        submit(
            isBlocked: { [database] in database.isDiscarding }, { [database] _ in database.register(registration) }, completion)
    }

    func claim(
        _ consumer: ConsumerIdentity, want: EventFilter, isPartial: Bool, readsKeys: Bool, knowing known: PositionBook.Entry?,
        of generation: StreamGeneration, dead: [Int64],
        _ completion: @escaping (Result<ConsumerStore.Claim, PostgresError>) -> Void
    ) {
        submit(
            { [database, pusher] _ in
                database.claim(
                    consumer, isPartial: isPartial, readsKeys: readsKeys, for: pusher, knowing: known, of: generation, dead: dead)
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
        _ completion: @escaping (Result<ConsumerStore.Polled?, PostgresError>) -> Void
    ) {
        submit({ [database] _ in .some(database.confirm(consumer, through: position, of: generation)) }, completion)
    }

    func newest(after id: EventID, _ completion: @escaping (Result<EventID?, PostgresError>) -> Void) {
        submit({ [database] _ in .some(database.newest > id ? database.newest : nil) }, completion)
    }

    func park(
        _ parking: ParkedStore.Parking, limit: Int, of generation: StreamGeneration,
        _ completion: @escaping (Result<ParkedStore.Parked, PostgresError>) -> Void
    ) { submit({ [database, pusher] _ in database.park(parking, of: generation, by: pusher) }, completion) }

    func follow(
        _ following: ParkedStore.Following, limit: Int, of generation: StreamGeneration,
        _ completion: @escaping (Result<ParkedStore.Parked, PostgresError>) -> Void
    ) { submit({ [database, pusher] _ in database.follow(following, limit: limit, of: generation, by: pusher) }, completion) }

    func failed(
        _ failing: Attempts.Failing, of consumer: ConsumerIdentity, epoch: Int64, _ generation: StreamGeneration,
        _ completion: @escaping (Result<Void, PostgresError>) -> Void
    ) { submit({ [database] _ in database.failed(failing, of: consumer, epoch: epoch, generation) }, completion) }

    func nextParked(
        of consumer: ConsumerIdentity, epoch: Int64, through cursor: EventID,
        _ completion: @escaping (Result<ParkedStore.Retry?, PostgresError>) -> Void
    ) { submit({ [database] _ in .some(database.nextParked(of: consumer, epoch: epoch, through: cursor)) }, completion) }

    func retried(
        _ id: EventID, of generation: String, _ outcome: ParkedStore.Retried, _ consumer: ConsumerIdentity, epoch: Int64,
        _ completion: @escaping (Result<String?, PostgresError>) -> Void
    ) { submit({ [database] _ in .some(database.retried(id, of: generation, outcome, consumer, epoch: epoch)) }, completion) }

    func beat(
        settled: EventID, stored: EventID, looked: Duration?, erased: Int64, generation: StreamGeneration,
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
