import CLibPQ
import Glibc
package import PosixLoop

extension Connection {
    /// Connects and sets the connection up.
    ///
    /// - Throws: ``PostgresError/Code/connectionFailed`` with libpq's account of every host tried, or
    ///   ``PostgresError/Code/invalidInput`` for an unreadable connection string.
    package static func open(
        _ options: ConnectionOptions, on loop: EventLoop
    ) async throws(PostgresError) -> Connection {
        let attempt = try ConnectionAttempt(options, loop: loop)
        let outcome = await withCheckedContinuation { continuation in
            attempt.start { continuation.resume(returning: Outcome(result: $0)) }
        }
        return try outcome.result.get()
    }

    package static func open(
        _ connectionString: String, on loop: EventLoop
    ) async throws(PostgresError) -> Connection {
        try await open(ConnectionOptions(connectionString), on: loop)
    }

    /// `@unchecked Sendable`: carries the connection from the loop's callback to the caller, both on the loop's thread.
    private struct Outcome: @unchecked Sendable {
        let result: Result<Connection, PostgresError>
    }
}

/// One attempt to connect, to one host after the other: libpq's `PQconnectPoll` driven by the loop.
final class ConnectionAttempt {
    private let loop: EventLoop
    /// Of this attempt.
    private let options: ConnectionOptions
    /// Of any other.
    private let given: ConnectionOptions
    private let hosts: [ConnectionOptions.Host]
    private let timeout: Duration
    private var tried = 0
    private var failures: [String] = []
    private var pg: OpaquePointer?
    private var watch: Watch?
    private var watched: Int32 = -1
    private var deadline: Timer?
    private var completion: ((Result<Connection, PostgresError>) -> Void)?

    /// - Parameter host: only this one of them.
    init(_ options: ConnectionOptions, only host: ConnectionOptions.Host? = nil, loop: EventLoop) throws(PostgresError) {
        self.loop = loop
        given = options
        let options = try options.refreshed()
        self.options = options
        if let host { hosts = [host] } else { hosts = try options.hosts() }
        timeout = try options.hostTimeout()
    }

    func start(_ completion: @escaping (Result<Connection, PostgresError>) -> Void) {
        self.completion = completion
        tryNext()
    }

    private func tryNext() {
        guard tried < hosts.count else {
            return finish(
                .failure(
                    PostgresError(
                        .connectionFailed,
                        "cannot connect to PostgreSQL (\(options)): \(failures.joined(separator: "; "))")))
        }
        let host = hosts[tried]
        tried += 1
        guard let pairs = try? options.keywords(for: host) else { return failed("its options cannot be read") }
        var keywords = pairs.map { strdup($0.0) }.map { UnsafePointer($0) } + [nil]
        var values = pairs.map { strdup($0.1) }.map { UnsafePointer($0) } + [nil]
        defer { for pointer in keywords + values { free(UnsafeMutableRawPointer(mutating: pointer)) } }
        guard let pg = PQconnectStartParams(&keywords, &values, 1) else { return failed("out of memory") }
        self.pg = pg
        guard PQstatus(pg) != CONNECTION_BAD else { return failed(nil) }
        watched = -1
        wait(for: .writable)
    }

    /// Gives the attempt up, unless it has ended.
    func cancel() {
        guard completion != nil else { return }
        tried = hosts.count
        failed("given up before an answer came")
    }

    private func wait(for interest: DescriptorEvents) {
        // libpq changes the socket when it goes on to the next address, which has its own time.
        let socket = PQsocket(pg)
        if socket != watched || watch == nil {
            watch?.cancel()
            if socket != watched {
                deadline?.cancel()
                deadline = loop.schedule(after: timeout) { self.failed("no answer within \(self.timeout)") }
            }
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
        case PGRES_POLLING_OK: connected()
        default: failed(nil)
        }
    }

    private func connected() {
        guard let pg else { return }
        let connection = Connection(established: pg, loop: loop)
        self.pg = nil
        // On its way with the first command, which therefore need not wait for it.
        for (limit, version) in ConnectionOptions.newerLimits where connection.serverVersion >= version {
            connection.submit(Statement("SET \(limit) = 0")) { _ in }
        }
        connection.doubtAfterSilence(given, at: hosts[tried - 1])
        finish(.success(connection))
    }

    /// This host is out of the question; the next one may do.
    private func failed(_ reason: String?) {
        watch?.cancel()
        deadline?.cancel()
        watch = nil
        if let reason, let pg {
            failures.append("\(reason) from \(String(cString: PQhost(pg))) port \(String(cString: PQport(pg)))")
        } else {
            failures.append(reason ?? PostgresError.trimmed(PQerrorMessage(pg)))
        }
        PQfinish(pg)
        pg = nil
        tryNext()
    }

    private func finish(_ result: Result<Connection, PostgresError>) {
        deadline?.cancel()
        let completion = completion
        self.completion = nil
        completion?(result)
    }
}
