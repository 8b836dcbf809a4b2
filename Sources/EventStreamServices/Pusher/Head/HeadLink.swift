import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// The head's connection to PostgreSQL.
final class HeadLink: HeadPort {
    private let database: PersistentConnection
    private let tables: StreamTables
    private let failOver: FailOver
    private let loop: EventLoop
    private let logger: Logger
    private var statements: (head: TailQueries, rows: QueueReader, generations: GenerationStore)?
    private var prepared: HeadStart?
    weak var delegate: (any HeadPortDelegate)?

    init(_ configuration: DatabaseConfiguration, failOver: FailOver, loop: EventLoop, logger: Logger) {
        tables = configuration.tables
        self.failOver = failOver
        self.loop = loop
        self.logger = logger
        database = PersistentConnection(
            configuration.options(application: "evt-pusher tail", settings: QueueReader.settings), on: loop)
    }

    var isConnected: Bool { database.current != nil }

    func start() {
        database.delegate = self
        database.start()
    }

    func stop() { database.stop() }
    func restart(because error: any Error) { database.restart(because: error) }

    /// Submits a statement on the present connection.
    private func with<Value>(
        _ completion: @escaping (Result<Value, PostgresError>) -> Void,
        _ submit: ((head: TailQueries, rows: QueueReader, generations: GenerationStore), Connection) -> Void
    ) {
        guard let connection = database.current, let statements else { return completion(.failure(.unreachable)) }
        submit(statements, connection)
    }

    func takeWakerRole(_ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        with(completion) { $0.head.takeWakerRole(on: $1, completion: completion) }
    }

    func takeLatch(_ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        with(completion) { $0.head.takeLatch(on: $1, completion: completion) }
    }

    func releaseLatch(_ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        with(completion) { $0.head.releaseLatch(on: $1, completion: completion) }
    }

    func look(newestAfter settled: EventID?, _ completion: @escaping (Result<TailQueries.Look, PostgresError>) -> Void) {
        with(completion) { $0.head.look(newestAfter: settled, on: $1, completion: completion) }
    }

    func read(after: EventID, _ completion: @escaping (Result<any FetchedRows, PostgresError>) -> Void) {
        with(completion) {
            $0.rows.read(on: $1, after: after, limits: QueueReader.Limits()) { completion($0.map { $0 as any FetchedRows }) }
        }
    }

    func advance(beyond id: EventID, _ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        with(completion) { $0.generations.advance(beyond: id, on: $1, completion: completion) }
    }

    func notify() { if let connection = database.current { statements?.head.notify(on: connection) } }

    func describe(_ holders: Set<SettledHorizon.Holder>, _ completion: @escaping (String) -> Void) {
        guard let connection = database.current, let statements else { return }
        loop.begin(with: Description(connection: connection, head: statements.head, completion: completion)) {
            $0.completion(await $0.head.describe(holders, on: $0.connection))
        }
    }
}

/// What is needed to tell what holders are doing. No tuple: Swift 6.3 releases too often what a closure holds that is taken out of one
/// in a task.
private struct Description {
    let connection: Connection
    let head: TailQueries
    let completion: (String) -> Void
}

extension HeadLink: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        let info = try await StreamInfo.load(tables, from: connection, writing: true)
        let queries = TailQueries(info)
        let generations = GenerationStore(info)
        let found = try await generations.establish(
            remembering: delegate?.memory ?? StreamMemory(), failOver: failOver, on: connection)
        let columns = try await TableTrouble.addedColumns(info, on: connection)
        if !columns.isEmpty { logger.warning("\(TableTrouble.columnsText(columns, of: info.tables))") }
        try await queries.listen(on: connection)
        prepared = HeadStart(
            finding: found, floor: try await queries.settledFloor(on: connection), writersMayPrepare: info.writersMayPrepare,
            table: "\(info.tables.events)")
        statements = (queries, QueueReader(info.tables), generations)
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) {
        connection.onNotification = { [weak self] _ in self?.delegate?.headNotified() }
        if let prepared { delegate?.headOpened(prepared) }
    }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) { delegate?.headFailed(error) }
}

extension PostgresError {
    static var unreachable: PostgresError { PostgresError(.connectionLost, "the database cannot be reached") }
}
