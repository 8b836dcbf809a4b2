package import PosixLoop

/// What a ``PersistentConnection`` tells its owner; all on the loop's thread.
package protocol PersistentConnectionDelegate: AnyObject {
    /// Prepares a new connection before anyone may use it: LISTEN, locks, checks. Throwing counts as a failed attempt.
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws
    /// A connection is ready.
    func opened(_ connection: Connection, of keeper: PersistentConnection)
    /// The connection was lost, or an attempt failed.
    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection)
}

/// Keeps one connection open: connects, sets up, and after a loss connects again, with growing pauses between failures.
///
/// Belongs to the loop's thread.
package final class PersistentConnection {
    private enum State {
        case idle
        case connecting(ConnectionAttempt)
        case preparing(Connection)
        case open(Connection)
        case pausing(Timer)
        case stopped
    }

    private let loop: EventLoop
    private let options: ConnectionOptions
    /// The pauses before a database is tried again.
    package static let standardBackoff = Backoff(first: .milliseconds(100), longest: .seconds(5))

    private var backoff: Backoff
    private var state = State.idle

    package weak var delegate: (any PersistentConnectionDelegate)?
    /// Reconnects made so far.
    package private(set) var reconnects = 0

    package init(
        _ options: ConnectionOptions, on loop: EventLoop,
        backoff: Backoff = PersistentConnection.standardBackoff
    ) {
        self.options = options
        self.loop = loop
        self.backoff = backoff
    }

    /// The connection, while there is one that has been set up.
    package var current: Connection? {
        if case .open(let connection) = state, connection.isOpen { return connection }
        return nil
    }

    /// Connects until it succeeds or ``stop()`` is called. Starting twice does nothing.
    package func start() {
        guard case .idle = state else { return }
        connect()
    }

    /// Closes the connection, also one that is not ready yet, and stays closed.
    package func stop() {
        let last = state
        state = .stopped
        switch last {
        case .connecting(let attempt): attempt.cancel()
        case .preparing(let connection), .open(let connection): connection.close()
        case .pausing(let timer): timer.cancel()
        case .idle, .stopped: break
        }
    }

    /// Gives the present connection up and connects anew, as if it had been lost.
    package func restart(because error: any Error) {
        guard case .open(let connection) = state else { return }
        connection.close()
        failed(error)
    }

    private func connect() {
        let attempt: ConnectionAttempt
        do {
            attempt = try ConnectionAttempt(options, loop: loop)
        } catch {
            return failed(error)
        }
        state = .connecting(attempt)
        attempt.start { result in
            guard case .connecting = self.state else { return }
            switch result {
            case .failure(let error): self.failed(error)
            case .success(let connection): self.prepare(connection)
            }
        }
    }

    private func prepare(_ connection: Connection) {
        state = .preparing(connection)
        let home = LoopActor(loop: loop)
        let transfer = Transfer(keeper: self, connection: connection)
        Task { await home.run { _ in await transfer.keeper.finishSetUp(transfer.connection) } }
    }

    /// `@unchecked Sendable`: both values go from the loop's thread to a task that runs on the loop's thread.
    private struct Transfer: @unchecked Sendable {
        let keeper: PersistentConnection
        let connection: Connection
    }

    private func finishSetUp(_ connection: Connection) async {
        do {
            try await delegate?.prepare(connection, of: self)
        } catch {
            connection.close()
            guard case .preparing = state else { return }
            return failed(error)
        }
        guard case .preparing = state else { return connection.close() }
        guard connection.isOpen else { return failed(PostgresError(.connectionLost, "the connection was lost")) }
        backoff.reset()
        connection.onLost = { [weak self] error in self?.lost(error) }
        state = .open(connection)
        delegate?.opened(connection, of: self)
    }

    private func lost(_ error: PostgresError) {
        guard case .open = state else { return }
        failed(error)
    }

    private func failed(_ error: any Error) {
        reconnects += 1
        let pause = backoff.next()
        state = .pausing(
            loop.schedule(after: pause) { [weak self] in
                guard let self, case .pausing = self.state else { return }
                self.connect()
            })
        delegate?.failed(error, retryingIn: pause, of: self)
    }
}
