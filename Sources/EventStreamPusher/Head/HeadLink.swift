import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging
import PosixLoop

/// What is asked over the head's connection.
struct HeadStatements {
    let head: HeadQueries
    let writers: WriterQueries
    let rows: QueueReader
    let queries: QueueQueries
    let generations: GenerationStore
}

/// The head's connection to PostgreSQL.
final class HeadLink: DatabaseLink<HeadStatements>, HeadPort {
    private let tables: StreamTables
    private let failOver: FailOver
    private let loop: EventLoop
    private let logger: Logger
    private var prepared: HeadStart?
    weak var delegate: (any HeadPortDelegate)?

    init(_ configuration: DatabaseConfiguration, failOver: FailOver, loop: EventLoop, logger: Logger) {
        tables = configuration.tables
        self.failOver = failOver
        self.loop = loop
        self.logger = logger
        super.init(configuration.options(application: "evt-pusher head", settings: StreamInfo.plans), on: loop)
    }

    func takeWakerRole(_ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        submit(completion) { $0.head.takeWakerRole(on: $1, completion: completion) }
    }

    func takeLatch(_ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        submit(completion) { $0.head.takeLatch(on: $1, completion: completion) }
    }

    func releaseLatch(_ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        submit(completion) { $0.head.releaseLatch(on: $1, completion: completion) }
    }

    func look(newestAfter settled: EventID?, _ completion: @escaping (Result<WriterQueries.Look, PostgresError>) -> Void) {
        submit(completion) { $0.writers.look(newestAfter: settled, on: $1, completion: completion) }
    }

    func read(after: EventID, _ completion: @escaping (Result<any FetchedRows, PostgresError>) -> Void) {
        submit(completion) {
            $0.rows.read(on: $1, after: after, limits: QueueReader.Limits()) { completion($0.map { $0 as any FetchedRows }) }
        }
    }

    func discarded(_ completion: @escaping (Result<EventID, PostgresError>) -> Void) {
        submit(completion) { $0.queries.discarded(on: $1, completion: completion) }
    }

    func advance(beyond id: EventID, _ completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        submit(completion) { $0.generations.advance(beyond: id, on: $1, completion: completion) }
    }

    func notify() { if let present { present.statements.head.notify(on: present.connection) } }

    func describe(_ holders: Set<TableWriter>, _ completion: @escaping (String) -> Void) {
        guard let present else { return completion("") }
        let description = Description(
            connection: present.connection, writers: present.statements.writers, completion: completion)
        loop.begin(with: description) { $0.completion(await $0.writers.describe(holders, on: $0.connection)) }
    }

    override func prepare(_ connection: Connection) async throws -> HeadStatements {
        let info = try await StreamInfo.load(tables, from: connection, writing: true)
        let (queries, writers) = (HeadQueries(info), WriterQueries(info))
        let generations = GenerationStore(info)
        let found = try await generations.establish(
            remembering: delegate?.memory ?? StreamMemory(), failOver: failOver, on: connection)
        let columns = try await TableTrouble.addedColumns(info, on: connection)
        if !columns.isEmpty { logger.warning("\(TableTrouble.columnsText(columns, of: info.tables))") }
        try await queries.listen(on: connection)
        let floor = try await writers.settledFloor(on: connection)
        let discarded = try await connection.query(Statement("SELECT discarded FROM \(info.tables.state.sql)"))
        prepared = HeadStart(
            finding: found, floor: floor, discarded: EventID(discarded.int(0, 0) ?? 0), writersMayPrepare: info.writersMayPrepare,
            table: "\(info.tables.events)")
        return HeadStatements(
            head: queries, writers: writers, rows: QueueReader(info.tables), queries: QueueQueries(info.tables),
            generations: generations)
    }

    override func opened(_ connection: Connection) {
        // The wake-ups that this pusher passes on tell it nothing new.
        let own = connection.backendProcessID
        connection.onNotification = { [weak self] in
            if $0.processID != own { self?.delegate?.headNotified(by: $0.processID) }
        }
        if let prepared { delegate?.headOpened(prepared) }
    }

    override func failed(_ error: any Error) { delegate?.headFailed(error) }
}

/// What is needed to tell what holders are doing. No tuple: Swift 6.3 releases too often what a closure holds that is taken out of one
/// in a task.
private struct Description {
    let connection: Connection
    let writers: WriterQueries
    let completion: (String) -> Void
}
