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
    private var pipelining = false
    private var pendingCopy: CopySource?
    private var isReading = false
    private var ended: PostgresError?
    /// When a byte last came, a command was sent to a server that owed nothing, or a piece of a COPY went out.
    private(set) var lastProgress = ContinuousClock.now
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
        if let ended {
            command.complete(.failure(ended))
            return
        }
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
        pendingCopy = nil
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
    var owesAnswer: Bool { !inFlight.isEmpty && pendingCopy == nil }

    func giveUp(_ reason: String) { end(PostgresError(.connectionLost, reason), notify: true) }

    private func lost(_ fallback: String) {
        var message = PostgresError.trimmed(PQerrorMessage(pg))
        if message.isEmpty { message = fallback }
        end(PostgresError(.connectionLost, message), notify: true)
    }

    // MARK: Sending

    private func sendWaiting() {
        while let command = waiting.first, ended == nil {
            if command.kind.isPipelined {
                guard pipelining || (inFlight.isEmpty && PQenterPipelineMode(pg) == 1) else { break }
                pipelining = true
            } else {
                guard inFlight.isEmpty else { break }
                if pipelining {
                    guard PQexitPipelineMode(pg) == 1 else { return lost("the pipeline could not be ended") }
                    pipelining = false
                }
            }
            waiting.removeFirst()
            if inFlight.isEmpty { lastProgress = .now }
            inFlight.append(command)
            guard send(command) else {
                lost("the command could not be sent")
                return
            }
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
            if pendingCopy != nil { continueCopy() }
        case 1: watch?.interest = [.readable, .writable]
        default: lost("the connection was lost while sending")
        }
    }

    // MARK: Receiving

    private func read() {
        guard ended == nil, !isReading else { return }
        isReading = true
        lastProgress = .now
        let alive = PQconsumeInput(pg) == 1
        while ended == nil, PQisBusy(pg) == 0, receive() {}
        isReading = false
        deliverNotifications()
        guard ended == nil else { return }
        if !alive || PQstatus(pg) == CONNECTION_BAD {
            lost("the connection was lost")
            return
        }
        sendWaiting()
    }

    /// Takes in one result; false when there is nothing more to take.
    private func receive() -> Bool {
        guard let command = inFlight.first else { return false }
        guard let result = PQgetResult(pg) else {
            // A null ends one statement's results. In a pipeline the sync that follows ends the command.
            if pipelining { return PQisBusy(pg) == 0 && PQstatus(pg) != CONNECTION_BAD && nullIsSeparator() }
            finish(command)
            return false
        }
        consecutiveNulls = 0
        switch PQresultStatus(result) {
        case PGRES_PIPELINE_SYNC:
            PQclear(result)
            finish(command)
        case PGRES_COPY_IN:
            PQclear(result)
            if case .copyIn(_, let source) = command.kind {
                pendingCopy = source
                continueCopy()
            } else {
                command.failure =
                    command.failure
                    ?? PostgresError(.invalidInput, "COPY FROM STDIN needs copyIn, not a plain statement")
                PQputCopyEnd(pg, "not expected here")
            }
            return pendingCopy == nil && PQisBusy(pg) == 0
        case PGRES_COPY_OUT:
            PQclear(result)
            return drainCopy(command)
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

    /// PQgetResult returns null between the results of a pipeline's statements, and null again when there is no more.
    private var consecutiveNulls = 0
    private func nullIsSeparator() -> Bool {
        consecutiveNulls += 1
        return consecutiveNulls < 2
    }

    private func finish(_ command: Command) {
        inFlight.removeFirst()
        consecutiveNulls = 0
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

    // MARK: COPY

    private func continueCopy() {
        guard let source = pendingCopy else { return }
        do {
            while let piece = try source.next() {
                let sent = piece.withUnsafeBytes { bytes in
                    PQputCopyData(pg, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
                }
                guard sent == 1 else { return lost("the connection was lost during COPY") }
                // Data waits in libpq's buffer while the socket is full: go on when it has been sent.
                switch PQflush(pg) {
                case 0: continue
                case 1:
                    watch?.interest = [.readable, .writable]
                    return
                default: return lost("the connection was lost during COPY")
                }
            }
            pendingCopy = nil
            PQputCopyEnd(pg, nil)
        } catch {
            pendingCopy = nil
            inFlight.first?.failure = error as? PostgresError ?? PostgresError(.invalidInput, "\(error)")
            PQputCopyEnd(pg, "\(error)")
        }
        flush()
    }

    private func drainCopy(_ command: Command) -> Bool {
        guard case .copyOut(_, let sink) = command.kind else {
            command.failure = PostgresError(.invalidInput, "COPY TO STDOUT needs copyOut, not a plain statement")
            return drainCopy(command) { _ in }
        }
        return drainCopy(command, sink)
    }

    private func drainCopy(_ command: Command, _ sink: (UnsafeRawBufferPointer) throws -> Void) -> Bool {
        while true {
            var buffer: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(pg, &buffer, 1)
            guard length > 0, let data = buffer else {
                // 0: wait for more. -1: done, the final result follows. -2: failed, the final result says why.
                return length < 0
            }
            defer { PQfreemem(data) }
            guard command.failure == nil else { continue }
            do {
                try sink(UnsafeRawBufferPointer(start: data, count: Int(length)))
            } catch {
                command.failure = error as? PostgresError ?? PostgresError(.invalidInput, "\(error)")
            }
        }
    }
}
