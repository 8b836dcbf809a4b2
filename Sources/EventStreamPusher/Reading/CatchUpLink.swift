import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import PosixLoop

/// The connection to PostgreSQL that reads older events for those who catch up.
final class CatchUpLink: DatabaseLink<QueueReader>, CatchUpPort {
    private let tables: StreamTables
    private(set) var identity: GenerationStore.Identity?
    weak var delegate: (any CatchUpPortDelegate)?

    init(_ configuration: DatabaseConfiguration, loop: EventLoop) {
        tables = configuration.tables
        super.init(configuration.options(application: "evt-pusher catch-up", settings: StreamInfo.plans), on: loop)
    }

    func visible(after id: EventID, _ completion: @escaping (Result<EventIDSet, PostgresError>) -> Void) {
        submit(completion) { $0.visible(after: id, on: $1, completion: completion) }
    }

    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<any FetchedRows, PostgresError>) -> Void
    ) {
        submit(completion) {
            $0.read(on: $1, after: after, through: through, want: want, stretch: stretch, limits: limits) {
                completion($0.map { $0 as any FetchedRows })
            }
        }
    }

    override func prepare(_ connection: Connection) async throws -> QueueReader {
        let info = try await StreamInfo.load(tables, from: connection, writing: true)
        identity = try await GenerationStore(info).identity(on: connection)
        return QueueReader(info.tables)
    }

    override func opened(_ connection: Connection) { delegate?.catchUpOpened() }
    override func failed(_ error: any Error) { delegate?.catchUpFailed(error) }
}
