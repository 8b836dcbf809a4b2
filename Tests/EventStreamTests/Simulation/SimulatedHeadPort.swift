import EventStream
import EventStreamDatabase
import LibPQ

@testable import EventStreamPusher

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
            connection.onNotification = { [unowned self] in
                if $0 != SimulatedHeadPort.process(of: connection) { self.delegate?.headNotified(by: $0) }
            }
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
                            discarded: EventID(database.discarded),
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

    func look(newestAfter settled: EventID?, _ completion: @escaping (Result<WriterQueries.Look, PostgresError>) -> Void) {
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

    func discarded(_ completion: @escaping (Result<EventID, PostgresError>) -> Void) {
        let isBlind = surroundings.fault == .gapNotCompared
        submit({ [database] _ in isBlind ? .none : EventID(database.discarded) }, completion)
    }

    func advance(beyond id: EventID, _ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        surroundings.broken("nobody supplies ids, and \(id) is said to be beyond the sequence")
    }

    func notify() { submit({ [database] in database.notify(by: SimulatedHeadPort.process(of: $0)) }) { _ in } }
    /// The server's process of a connection: none of a writer's.
    private static func process(of connection: SimulatedConnection) -> Int32 { -Int32(connection.number) }
    func describe(_ holders: Set<TableWriter>, _ completion: @escaping (String) -> Void) { completion("writers") }
}
