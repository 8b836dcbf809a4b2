import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import PosixLoop

/// What is asked of the event table for those who catch up.
struct CatchUpStatements {
    let rows: QueueReader
    let queries: QueueQueries
}

/// The connection to PostgreSQL that reads older events for those who catch up.
final class CatchUpLink: DatabaseLink<CatchUpStatements>, CatchUpPort {
    private let tables: StreamTables
    private(set) var identity: GenerationStore.Identity?
    weak var delegate: (any CatchUpPortDelegate)?

    init(_ configuration: DatabaseConfiguration, loop: EventLoop) {
        tables = configuration.tables
        super.init(configuration.options(application: "evt-pusher catch-up", settings: StreamInfo.plans), on: loop)
    }

    func visible(after id: EventID, _ completion: @escaping (Result<EventIDSet, PostgresError>) -> Void) {
        submit(completion) { $0.queries.visible(after: id, on: $1, completion: completion) }
    }

    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<TablePage, PostgresError>) -> Void
    ) {
        submit(completion) { statements, connection in
            var page: Result<QueueRows, PostgresError> = .failure(.unreachable)
            statements.rows.read(
                on: connection, after: after, through: through, want: want, stretch: stretch, limits: limits
            ) { page = $0 }
            // Sent at once, and carried out after the page with a snapshot of its own.
            statements.queries.discarded(on: connection) { discarded in
                completion(page.flatMap { rows in discarded.map { TablePage(rows: rows, discarded: $0) } })
            }
        }
    }

    func first(since time: EventTimestamp, _ completion: @escaping (Result<QueueQueries.Since, PostgresError>) -> Void) {
        submit(completion) { $0.queries.first(since: time, on: $1, completion: completion) }
    }

    override func prepare(_ connection: Connection) async throws -> CatchUpStatements {
        let info = try await StreamInfo.load(tables, from: connection, writing: true)
        identity = try await GenerationStore(info).identity(on: connection)
        return CatchUpStatements(rows: QueueReader(info.tables), queries: QueueQueries(info.tables))
    }

    override func opened(_ connection: Connection) { delegate?.catchUpOpened() }
    override func failed(_ error: any Error) { delegate?.catchUpFailed(error) }
}
