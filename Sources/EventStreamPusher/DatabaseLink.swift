import LibPQ
import PosixLoop

/// A connection to PostgreSQL that is opened again whenever it is lost, and what can be asked over it.
///
/// Each kind says how a new connection is prepared, and whom it tells. The pauses between attempts are of ``Backoff``.
class DatabaseLink<Statements>: DatabasePort, PersistentConnectionDelegate {
    private let database: PersistentConnection
    private var statements: Statements?

    init(_ options: ConnectionOptions, on loop: EventLoop) { database = PersistentConnection(options, on: loop) }

    // What each kind does.

    /// - Returns: what can be asked over the connection.
    func prepare(_ connection: Connection) async throws -> Statements { preconditionFailure("each kind prepares its own") }
    func opened(_ connection: Connection) {}
    func failed(_ error: any Error) {}

    // What all of them do.

    var isConnected: Bool { database.current != nil }
    var host: String { database.current?.host ?? "" }

    /// The present connection, and what can be asked over it.
    final var present: (statements: Statements, connection: Connection)? {
        if let statements, let connection = database.current { (statements, connection) } else { nil }
    }

    func start() {
        database.delegate = self
        database.start()
    }

    func stop() { database.stop() }
    func restart(because error: any Error) { database.restart(because: error) }

    /// Submits a statement on the present connection; without one it fails.
    final func submit<Value>(
        _ completion: @escaping (Result<Value, PostgresError>) -> Void, _ body: (Statements, Connection) -> Void
    ) {
        guard let present else { return completion(.failure(.unreachable)) }
        body(present.statements, present.connection)
    }

    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        statements = try await prepare(connection)
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) { opened(connection) }
    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) { failed(error) }
}

extension PostgresError {
    static var unreachable: PostgresError { PostgresError(.connectionLost, "the database cannot be reached") }
}
