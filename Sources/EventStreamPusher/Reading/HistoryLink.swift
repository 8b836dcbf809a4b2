import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import PosixLoop

/// What is asked of an archive.
struct HistoryStatements {
    let rows: QueueReader
    let extent: Statement
    let since: Statement
}

/// The connection to the warehouse that reads discarded events.
final class HistoryLink: DatabaseLink<HistoryStatements>, HistoryPort {
    private let tables: ArchiveTables
    private(set) var failure: String?

    init(_ configuration: ArchiveConfiguration, loop: EventLoop) {
        tables = configuration.tables
        super.init(
            configuration.options(
                application: "evt-pusher history",
                // Somebody may have the history locked: whoever waits is to be told.
                settings: StreamInfo.plans.merging(["lock_timeout": "5s", "statement_timeout": "60s"]) { mine, _ in mine }),
            on: loop)
    }

    func read(
        after: EventID, through: EventID, want: EventFilter, stretch: QueueReader.Stretch, limits: QueueReader.Limits,
        _ completion: @escaping (Result<ArchivePage, PostgresError>) -> Void
    ) {
        submit(completion) { statements, connection in
            var before: Result<ArchiveExtent, PostgresError> = .failure(.unreachable)
            var page: Result<QueueRows, PostgresError> = .failure(.unreachable)
            // Sent at once; each has a snapshot of its own, in this order.
            connection.submit(statements.extent) { before = $0.map { ArchiveExtent($0) } }
            statements.rows.read(
                on: connection, after: after, through: through, want: want, stretch: stretch, limits: limits
            ) { page = $0 }
            connection.submit(statements.extent) { found in
                completion(
                    before.flatMap { before in
                        page.flatMap { rows in
                            found.map { ArchivePage(rows: rows, before: before, after: ArchiveExtent($0)) }
                        }
                    })
            }
        }
    }

    func look(_ completion: @escaping (Result<ArchiveExtent, PostgresError>) -> Void) {
        submit(completion) { $1.submit($0.extent) { completion($0.map { ArchiveExtent($0) }) } }
    }

    func first(
        since time: EventTimestamp, after: EventID, through: EventID,
        _ completion: @escaping (Result<(first: EventID?, hasEarlier: Bool), PostgresError>) -> Void
    ) {
        submit(completion) { statements, connection in
            connection.submit(
                statements.since, [.int8(time.postgres), .int8(after.rawValue), .int8(through.rawValue)]
            ) { found in
                completion(found.map { ($0.int(0, 0).map { EventID($0) }, $0.bool(0, 1) ?? false) })
            }
        }
    }

    override func prepare(_ connection: Connection) async throws -> HistoryStatements {
        // Whose position it is does not matter to who reads.
        let store = try await HistoryStore.load(
            tables, archiver: ConsumerIdentity(component: .archiver), from: connection, writing: false)
        return HistoryStatements(
            rows: QueueReader(store.tables), extent: ArchiveExtent.statement(store.tables),
            since: StartQueries.firstSince(of: store.tables))
    }

    override func opened(_ connection: Connection) { failure = nil }
    override func failed(_ error: any Error) { failure = "\(error)" }
}
