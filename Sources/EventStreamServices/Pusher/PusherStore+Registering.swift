import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// Registering shares the lock that the discarder has for itself while it deletes. Who else has it keeps everybody from registering, so
/// it is waited for, for a while, beside everything else the connection does, and named after that.
extension PusherStore {
    private static let registeringPatience = Duration.seconds(4)

    /// False if its user has too many already.
    func register(
        _ consumer: ConsumerIdentity, want: EventFilter, completion: @escaping (Result<Bool, PostgresError>) -> Void
    ) {
        register(consumer, want: want, until: .now + Self.registeringPatience, completion: completion)
    }

    private func register(
        _ consumer: ConsumerIdentity, want: EventFilter, until deadline: MonotonicTime,
        completion: @escaping (Result<Bool, PostgresError>) -> Void
    ) {
        guard let connection = usableWork, let consumers else { return completion(unavailable()) }
        consumers.register(consumer, want: want, limit: configuration.limits.userConsumers, on: connection) {
            [unowned self] result in
            guard case .failure(let error) = result, error.sqlState == "55P03" else { return completion(result) }
            self.wait(for: error, until: deadline, completion: completion) {
                self.register(consumer, want: want, until: deadline, completion: completion)
            }
        }
    }

    private func wait(
        for error: PostgresError, until deadline: MonotonicTime, completion: @escaping (Result<Bool, PostgresError>) -> Void,
        then again: @escaping () -> Void
    ) {
        loop.schedule(after: .milliseconds(250)) { [weak self] in
            guard let self else { return }
            guard let connection = self.usableWork, let consumers = self.consumers else { return completion(self.unavailable()) }
            guard MonotonicTime.now < deadline else { return self.blame(error, completion: completion) }
            // An attempt that waits holds up what comes behind it on this connection; a look does not.
            consumers.mayRegister(on: connection) { result in
                if case .success(true) = result { return again() }
                self.wait(for: error, until: deadline, completion: completion, then: again)
            }
        }
    }

    private func blame(_ error: PostgresError, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        let (home, mine, answer) = (LoopActor(loop: loop), Unchecked(self), Unchecked(completion))
        Task {
            await home.run { _ in
                let blamed = await mine.value.blamed(error)
                answer.value(.failure(blamed))
            }
        }
    }

    private func blamed(_ error: PostgresError) async -> PostgresError {
        guard let connection = usableWork else { return error }
        var blamed = error
        do {
            let who = try await Hindrance.registering(configuration.database.tables, from: connection)
            if let text = who.text { blamed.message += ": \(text)" }
        } catch {
            logger.debug("it could not be seen who keeps consumers from registering", metadata: [.error: "\(error)"])
        }
        return blamed
    }
}
