import PosixLoop

extension Connection {
    /// From now on, a server that owes an answer and is silent is asked over another connection whether it is at work on it.
    func doubtAfterSilence(_ options: ConnectionOptions, at host: ConnectionOptions.Host) {
        guard options.answerTimeout > .zero else { return }
        silence = Silence(options, host: host, backend: backendProcessID)
        listenForSilence()
    }

    private func listenForSilence() {
        guard let silence, isOpen else { return }
        silence.timer = loop.schedule(after: silence.options.answerTimeout / 3) { [weak self] in
            guard let self, self.isOpen, let silence = self.silence else { return }
            guard self.owesAnswer, .now - silence.lastProgress >= silence.options.answerTimeout else {
                return self.listenForSilence()
            }
            self.inquire(silence)
        }
    }

    private func inquire(_ silence: Silence) {
        silence.inquire(on: loop) { [weak self] isAtWork in
            guard let self, self.isOpen, let silence = self.silence else { return }
            guard isAtWork || .now - silence.lastProgress < silence.options.answerTimeout else {
                return self.giveUp("no answer for \(silence.options.answerTimeout), and the server is not at work on it")
            }
            self.listenForSilence()
        }
    }
}

/// Asks a server whether it is at work for a connection that hears nothing from it.
///
/// Belongs to the loop's thread.
final class Silence {
    let options: ConnectionOptions
    private let host: ConnectionOptions.Host
    private let backend: Int32
    var timer: Timer?
    /// When a byte last came, a command was sent to a server that owed nothing, or a piece of a COPY went out.
    var lastProgress = ContinuousClock.now
    private var attempt: ConnectionAttempt?
    private(set) var inquiries = 0

    init(_ options: ConnectionOptions, host: ConnectionOptions.Host, backend: Int32) {
        self.options = options
        self.host = host
        self.backend = backend
    }

    func inquire(on loop: EventLoop, _ completion: @escaping (Bool) -> Void) {
        inquiries += 1
        var options = options
        options.applicationName = "\(options.applicationName) inquiry"
        options.answerTimeout = .zero
        guard let attempt = try? ConnectionAttempt(options, only: host, loop: loop) else { return completion(true) }
        self.attempt = attempt
        attempt.start { [weak self] result in
            self?.attempt = nil
            guard let self else { return completion(true) }
            switch result {
            // One that turns everybody away may still be at work for those it has.
            case .failure(let error): completion(error.isTooManyConnections)
            case .success(let connection): self.ask(connection, completion)
            }
        }
    }

    /// Waiting for its client is no work: that is what its silence is about.
    private func ask(_ connection: Connection, _ completion: @escaping (Bool) -> Void) {
        let deadline = connection.loop.schedule(after: options.answerTimeout) { connection.close() }
        connection.submit(
            Statement(
                """
                SELECT FROM pg_stat_activity WHERE pid = $1::bigint AND (state = 'disabled'
                    OR state = 'active' AND wait_event_type IS DISTINCT FROM 'Client')
                -- Behind a pooler nobody knows.
                UNION ALL SELECT WHERE pg_backend_pid() <> $2::bigint
                """), [.int8(Int64(backend)), .int8(Int64(connection.backendProcessID))]
        ) { result in
            deadline.cancel()
            connection.close()
            completion((try? result.get().count > 0) ?? false)
        }
    }
}

extension PostgresError {
    /// `too_many_connections`, which has no SQLSTATE at that point of a connection: libpq keeps only the words.
    fileprivate var isTooManyConnections: Bool {
        ["too many", "remaining connection slots"].contains { message.contains($0) }
    }
}
