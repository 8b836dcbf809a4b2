import EventLoop
import EventStore
import EventStream
import Postgres

/// The connection to PostgreSQL that reads history.
final class HistoryLink: HistoryPort {
    private let database: PersistentConnection
    private let tables: StreamTables
    private var reader: QueueReader?
    private(set) var identity: GenerationStore.Identity?
    weak var delegate: (any HistoryPortDelegate)?

    init(_ configuration: DatabaseConfiguration, loop: EventLoop) {
        tables = configuration.tables
        database = PersistentConnection(
            configuration.options(application: "evt-pusher history", settings: QueueReader.settings), on: loop)
    }

    var isConnected: Bool { database.current != nil }

    func start() {
        database.delegate = self
        database.start()
    }

    func stop() { database.stop() }
    func restart(because error: any Error) { database.restart(because: error) }

    func visible(after id: EventID, _ completion: @escaping (Result<EventIDSet, PostgresError>) -> Void) {
        guard let connection = database.current, let reader else { return completion(.failure(.unreachable)) }
        reader.visible(after: id, on: connection, completion: completion)
    }

    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<any FetchedRows, PostgresError>) -> Void
    ) {
        guard let connection = database.current, let reader else { return completion(.failure(.unreachable)) }
        reader.read(on: connection, after: after, through: through, want: want, stretch: stretch, limits: limits) {
            completion($0.map { $0 as any FetchedRows })
        }
    }
}

extension HistoryLink: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        let info = try await StreamInfo.load(tables, from: connection, writing: true)
        identity = try await GenerationStore(info).identity(on: connection)
        reader = QueueReader(info.tables)
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) { delegate?.historyOpened() }
    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        delegate?.historyFailed(error)
    }
}
