import EventStream
import EventStreamDatabase
import LibPQ

/// Registering shares the lock that the discarder has for itself while it deletes. Who else has it keeps everybody from registering, so
/// it is waited for, for a while, beside everything else the connection does, and named after that.
final class Registering {
    private let registration: ConsumerRegistering.Registration
    private let link: ConsumerLink
    private let completion: (Result<ConsumerRegistering.Registered, PostgresError>) -> Void
    private let deadline = MonotonicTime.now + .seconds(4)

    init(
        _ registration: ConsumerRegistering.Registration, on link: ConsumerLink,
        _ completion: @escaping (Result<ConsumerRegistering.Registered, PostgresError>) -> Void
    ) { (self.registration, self.link, self.completion) = (registration, link, completion) }

    func attempt() {
        guard let (statements, connection) = link.present else { return completion(.failure(.unreachable)) }
        statements.registering.register(registration, on: connection) { result in
            guard case .failure(let error) = result, error.sqlState == .lockNotAvailable else { return self.completion(result) }
            self.wait(for: error)
        }
    }

    private func wait(for error: PostgresError) {
        link.schedule(after: .milliseconds(250)) {
            guard let (statements, connection) = self.link.present else { return self.completion(.failure(.unreachable)) }
            guard MonotonicTime.now < self.deadline else {
                return self.link.blaming(error) { self.completion(.failure($0)) }
            }
            // An attempt that waits holds up what comes behind it on this connection; a look does not.
            statements.registering.mayRegister(on: connection) { result in
                if case .success(true) = result { return self.attempt() }
                self.wait(for: error)
            }
        }
    }
}
