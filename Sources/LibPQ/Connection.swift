import CLibPQ
import DequeModule
package import PosixLoop

/// One connection to PostgreSQL, driven by an ``EventLoop``; nothing here ever blocks the thread.
///
/// Commands are carried out in the order they were submitted. Statements are sent at once in libpq's pipeline mode,
/// each its own transaction (unless between BEGIN and COMMIT), so many wait for one round trip together. Scripts and
/// COPY wait until they have the connection for themselves.
///
/// Belongs to the loop's thread. Every completion is called exactly once, on that thread.
package final class Connection {
    package let loop: EventLoop
    private let pg: OpaquePointer
    private var watch: Watch?

    private var waiting: Deque<Command> = []
    private var inFlight: Deque<Command> = []
    /// Statements the server has parsed, by name, and how often each name had to be given up.
    private var prepared: Set<String> = []
    private var generations: [String: Int] = [:]
    private var isReading = false
    private var ended: PostgresError?
    var silence: Silence?

    /// Called for every NOTIFY on a channel this connection listens to.
    package var onNotification: ((Notification) -> Void)?
    /// Called once, when the connection is lost; not after ``close()``.
    package var onLost: ((PostgresError) -> Void)?

    init(established pg: OpaquePointer, loop: EventLoop) {
        self.pg = pg
        self.loop = loop
        PQsetnonblocking(pg, 1)
        PQsetNoticeReceiver(pg, { _, _ in }, nil)
        watch = loop.watch(PQsocket(pg), for: .readable) { [weak self] readiness in
            guard let self else { return }
            if readiness.contains(.writable) { self.flush() }
            self.read()
        }
    }

    deinit {
        guard ended == nil else { return }
        watch?.cancel()
        silence?.timer?.cancel()
        PQfinish(pg)
    }

    package var isOpen: Bool { ended == nil }
    /// The server's process id for this connection, as in `pg_stat_activity.pid`.
    package var backendProcessID: Int32 { isOpen ? PQbackendPID(pg) : 0 }
    /// Which of the hosts that were given this connection leads to, with its port.
    package var host: String {
        isOpen ? "\(PQhost(pg).map { String(cString: $0) } ?? "") port \(PQport(pg).map { String(cString: $0) } ?? "")" : ""
    }
    /// The server's version as libpq gives it: 150004 is 15.4.
    package var serverVersion: Int { isOpen ? Int(PQserverVersion(pg)) : 0 }
    /// Commands submitted and not yet completed.
    package var outstanding: Int { waiting.count + inFlight.count }

    /// A run-time parameter the server reports on its own (`server_version`, `TimeZone`, `in_hot_standby`, …).
    package func parameterStatus(_ name: String) -> String? {
        isOpen ? PQparameterStatus(pg, name).map { String(cString: $0) } : nil
    }

    // MARK: Commands

    /// Carries out one statement.
    package func submit(
        _ statement: Statement, _ parameters: [Parameter] = [],
        completion: @escaping (Result<Rows, PostgresError>) -> Void
    ) {
        submit(Command(.statement(statement, parameters), completion: completion))
    }

    func submit(_ command: Command) {
        loop.assertOnLoop()
        if let ended { return command.complete(.failure(ended)) }
        waiting.append(command)
        sendWaiting()
    }

    /// Ends the connection. Commands not completed fail with ``PostgresError/Code/closed``.
    package func close() { end(PostgresError(.closed, "the connection was closed"), notify: false) }

    private func end(_ error: PostgresError, notify: Bool) {
        guard ended == nil else { return }
        ended = error
        watch?.cancel()
        silence?.timer?.cancel()
        silence = nil
        // Not at once: a caller up the stack may be at work with it.
        loop.execute { [handle = Unchecked(pg)] in PQfinish(handle.value) }
        for command in inFlight {
            var error = command.failure ?? error
            error.mayHaveBeenExecuted = true
            command.complete(.failure(error))
        }
        for command in waiting { command.complete(.failure(error)) }
        inFlight = []
        waiting = []
        if notify { onLost?(error) }
        onLost = nil
        onNotification = nil
    }

    /// Whether the server has been asked for something that it has not answered; not while it is being sent a COPY.
    var owesAnswer: Bool { inFlight.first.map { $0.pendingCopy == nil } ?? false }

    func giveUp(_ reason: String) { end(PostgresError(.connectionLost, reason), notify: true) }

    private func lost(_ fallback: String) {
        var message = PostgresError.trimmed(PQerrorMessage(pg))
        if message.isEmpty { message = fallback }
        end(PostgresError(.connectionLost, message), notify: true)
    }

    // MARK: Sending

    private var isPipelining: Bool { PQpipelineStatus(pg) != PQ_PIPELINE_OFF }

    private func sendWaiting() {
        while let command = waiting.first, ended == nil {
            if command.kind.isPipelined {
                guard isPipelining || (inFlight.isEmpty && PQenterPipelineMode(pg) == 1) else { break }
            } else {
                guard inFlight.isEmpty else { break }
                guard !isPipelining || PQexitPipelineMode(pg) == 1 else { return lost("the pipeline could not be ended") }
            }
            waiting.removeFirst()
            if inFlight.isEmpty { silence?.lastProgress = .now }
            inFlight.append(command)
            guard send(command) else { return lost("the command could not be sent") }
            if !command.kind.isPipelined { break }
        }
        flush()
    }

    private func send(_ command: Command) -> Bool {
        switch command.kind {
        case .statement(let statement, let parameters):
            if let name = statement.name, prepared.insert(name).inserted {
                command.isPreparing = true
                guard PQsendPrepare(pg, serverName(name), statement.sql, 0, nil) == 1 else { return false }
            }
            return send(statement, parameters) && PQpipelineSync(pg) == 1
        case .script(let sql), .copyIn(let sql, _), .copyOut(let sql, _):
            return PQsendQuery(pg, sql) == 1
        }
    }

    private func send(_ statement: Statement, _ parameters: [Parameter]) -> Bool {
        let encoded = parameters.map(\.encoded)
        let offsets = encoded.reduce(into: [0]) { $0.append($0.last! + ($1?.bytes.count ?? 0)) }
        let lengths = encoded.map { Int32($0?.bytes.count ?? 0) }
        let formats = encoded.map { Int32($0?.binary == true ? 1 : 0) }
        var joined: [UInt8] = []
        joined.reserveCapacity(offsets.last! + 1)
        for value in encoded { joined += value?.bytes ?? [] }
        joined.append(0)
        return joined.withUnsafeBufferPointer { buffer in
            let base = UnsafeRawPointer(buffer.baseAddress!).assumingMemoryBound(to: CChar.self)
            let values = encoded.indices.map { index in encoded[index] == nil ? nil : base + offsets[index] }
            let format: Int32 = statement.binaryResults ? 1 : 0
            if let name = statement.name {
                return PQsendQueryPrepared(pg, serverName(name), Int32(encoded.count), values, lengths, formats, format) == 1
            }
            return PQsendQueryParams(
                pg, statement.sql, Int32(encoded.count), nil, values, lengths, formats, format) == 1
        }
    }

    private func flush() {
        guard ended == nil else { return }
        switch PQflush(pg) {
        case 0:
            watch?.interest = .readable
            continueCopy()
        case 1: watch?.interest = [.readable, .writable]
        default: lost("the connection was lost while sending")
        }
    }

    // MARK: Receiving

    private func read() {
        guard ended == nil, !isReading else { return }
        isReading = true
        silence?.lastProgress = .now
        let alive = PQconsumeInput(pg) == 1
        while ended == nil, PQisBusy(pg) == 0, receive() {}
        isReading = false
        deliverNotifications()
        guard ended == nil else { return }
        if !alive || PQstatus(pg) == CONNECTION_BAD { return lost("the connection was lost") }
        sendWaiting()
    }

    /// Takes in one result; false when there is nothing more to take.
    private func receive() -> Bool {
        guard let command = inFlight.first else { return false }
        guard let result = PQgetResult(pg) else {
            // A null ends one statement's results. In a pipeline the sync that follows ends the command.
            if isPipelining { return PQisBusy(pg) == 0 && PQstatus(pg) != CONNECTION_BAD && command.nullIsSeparator() }
            finish(command)
            return false
        }
        command.consecutiveNulls = 0
        switch PQresultStatus(result) {
        case PGRES_PIPELINE_SYNC:
            PQclear(result)
            finish(command)
        case PGRES_COPY_IN:
            PQclear(result)
            if case .copyIn(_, let source) = command.kind {
                command.pendingCopy = source
                continueCopy()
            } else {
                command.failure =
                    command.failure
                    ?? PostgresError(.invalidInput, "COPY FROM STDIN needs copyIn, not a plain statement")
                PQputCopyEnd(pg, "not expected here")
            }
            return command.pendingCopy == nil && PQisBusy(pg) == 0
        case PGRES_COPY_OUT:
            PQclear(result)
            return command.receiveCopy(from: pg)
        case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_SINGLE_TUPLE, PGRES_EMPTY_QUERY:
            command.rows = Rows(result)
        case PGRES_PIPELINE_ABORTED:
            PQclear(result)
        default:
            let error = PostgresError(result: result)
            if command.failure == nil { command.failure = error }
            PQclear(result)
        }
        return true
    }

    private func finish(_ command: Command) {
        inFlight.removeFirst()
        if let failure = command.failure {
            if case .statement(let statement, _) = command.kind, let name = statement.name {
                forget(name, after: failure, command)
            }
            command.complete(.failure(failure))
        } else if let rows = command.rows {
            command.complete(.success(rows))
        } else {
            command.complete(.failure(PostgresError(.connectionLost, "no result", mayHaveBeenExecuted: true)))
        }
    }

    /// A statement that could not be prepared is prepared when it is next used; one whose plan no longer fits the tables,
    /// too, under another name: the old one cannot be freed within an aborted transaction.
    private func forget(_ name: String, after failure: PostgresError, _ command: Command) {
        if command.isPreparing, command.rows == nil {
            prepared.remove(name)
        } else if failure.sqlState == .featureNotSupported || failure.sqlState == .invalidStatementName {
            prepared.remove(name)
            generations[name, default: 0] += 1
        }
    }

    private func serverName(_ name: String) -> String {
        generations[name].map { "\(name)~\($0)" } ?? name
    }

    private func deliverNotifications() {
        while ended == nil, let notify = PQnotifies(pg) {
            let notification = Notification(
                channel: String(cString: notify.pointee.relname), payload: String(cString: notify.pointee.extra),
                processID: notify.pointee.be_pid)
            PQfreemem(notify)
            onNotification?(notification)
        }
    }

    private func continueCopy() {
        guard let command = inFlight.first, let source = command.pendingCopy else { return }
        do {
            switch try source.send(over: pg) {
            case 0: command.pendingCopy = nil
            case 1:
                watch?.interest = [.readable, .writable]
                return
            default: return lost("the connection was lost during COPY")
            }
        } catch {
            command.pendingCopy = nil
            command.failure = error as? PostgresError ?? PostgresError(.invalidInput, "\(error)")
            PQputCopyEnd(pg, "\(error)")
        }
        flush()
    }
}
