import CLibPQ
public import EventLoop
import Glibc

extension Connection {
    /// Connects and sets the connection up.
    ///
    /// - Throws: ``PostgresError/Code/connectionFailed`` with libpq's account of every host tried, or
    ///   ``PostgresError/Code/invalidInput`` for an unreadable connection string.
    public static func open(
        _ options: ConnectionOptions, on loop: EventLoop
    ) async throws(PostgresError) -> Connection {
        let attempt = try ConnectionAttempt(options, loop: loop)
        let outcome = await withCheckedContinuation { continuation in
            attempt.start { continuation.resume(returning: Outcome(result: $0)) }
        }
        return try outcome.result.get()
    }

    public static func open(
        _ connectionString: String, on loop: EventLoop
    ) async throws(PostgresError) -> Connection {
        try await open(ConnectionOptions(connectionString), on: loop)
    }

    /// `@unchecked Sendable`: carries the connection from the loop's callback to the caller, both on the loop's thread.
    private struct Outcome: @unchecked Sendable {
        let result: Result<Connection, PostgresError>
    }
}

/// One attempt to connect: libpq's `PQconnectPoll` driven by the loop.
final class ConnectionAttempt {
    private let pg: OpaquePointer
    private let loop: EventLoop
    private let options: ConnectionOptions
    private var watch: Watch?
    private var watched: Int32 = -1
    private var deadline: Timer?
    private var completion: ((Result<Connection, PostgresError>) -> Void)?

    init(_ options: ConnectionOptions, loop: EventLoop) throws(PostgresError) {
        let pairs = try options.keywords()
        var keywords = pairs.map { strdup($0.0) }.map { UnsafePointer($0) } + [nil]
        var values = pairs.map { strdup($0.1) }.map { UnsafePointer($0) } + [nil]
        defer { for pointer in keywords + values { free(UnsafeMutableRawPointer(mutating: pointer)) } }
        guard let pg = PQconnectStartParams(&keywords, &values, 1) else {
            throw PostgresError(.connectionFailed, "out of memory")
        }
        self.pg = pg
        self.loop = loop
        self.options = options
    }

    func start(_ completion: @escaping (Result<Connection, PostgresError>) -> Void) {
        self.completion = completion
        guard PQstatus(pg) != CONNECTION_BAD else { return fail(nil) }
        deadline = loop.schedule(after: options.connectTimeout) { self.fail("no answer within \(self.options.connectTimeout)") }
        wait(for: .writable)
    }

    private func wait(for interest: Readiness) {
        // libpq changes the socket when it goes on to the next address.
        let socket = PQsocket(pg)
        if socket != watched || watch == nil {
            watch?.cancel()
            watched = socket
            watch = loop.watch(socket, for: interest) { _ in self.advance() }
        }
        watch?.interest = interest
    }

    private func advance() {
        // The old socket may be closed within; a new one may get its number.
        watch?.cancel()
        watch = nil
        switch PQconnectPoll(pg) {
        case PGRES_POLLING_READING: wait(for: .readable)
        case PGRES_POLLING_WRITING: wait(for: .writable)
        case PGRES_POLLING_OK: finish(.success(Connection(established: pg, loop: loop)))
        default: fail(nil)
        }
    }

    private func fail(_ reason: String?) {
        let error = PostgresError(
            .connectionFailed,
            "cannot connect to PostgreSQL (\(options)): \(reason ?? PostgresError.trimmed(PQerrorMessage(pg)))")
        PQfinish(pg)
        finish(.failure(error))
    }

    private func finish(_ result: Result<Connection, PostgresError>) {
        watch?.cancel()
        deadline?.cancel()
        let completion = completion
        self.completion = nil
        completion?(result)
    }
}
