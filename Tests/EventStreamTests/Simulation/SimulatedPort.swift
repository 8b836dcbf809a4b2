import EventStream
import EventStreamDatabase
import LibPQ
import PosixLoop

@testable import EventStreamPusher
@testable import EventStreamServer

/// A process's time and turns.
final class SimulatedLoop: LoopPort {
    private final class Call: ScheduledCall {
        let (number, timers): (Int, SimulatedTimers)
        init(_ number: Int, _ timers: SimulatedTimers) { (self.number, self.timers) = (number, timers) }
        func cancel() { timers.cancel(number) }
    }

    private let surroundings: Surroundings
    private let timers: SimulatedTimers

    init(_ surroundings: Surroundings, _ timers: SimulatedTimers) { (self.surroundings, self.timers) = (surroundings, timers) }

    var now: MonotonicTime { surroundings.now }
    var wallClock: EventTimestamp { EventTimestamp(microseconds: Int64((now - start) / .microseconds(1))) }

    func after(_ delay: Duration, _ body: @escaping () -> Void) -> any ScheduledCall {
        Call(timers.schedule(at: surroundings.now + delay, body), timers)
    }

    func soon(_ body: @escaping () -> Void) { _ = timers.schedule(at: surroundings.now, body) }
}

/// A kept connection to the simulated database.
class SimulatedPort: DatabasePort {
    let surroundings: Surroundings
    let database: SimulatedDatabase
    let keeper: SimulatedKeeper
    /// Which stream the present connection leads to.
    var identity: GenerationStore.Identity?
    private var error: any Error = PostgresError(.connectionLost, "lost")

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers) {
        self.surroundings = surroundings
        self.database = database
        keeper = SimulatedKeeper(surroundings, database, timers)
    }

    var isConnected: Bool { keeper.current != nil }
    func start() { keeper.start() }
    func stop() { keeper.stop() }

    func restart(because error: any Error) {
        self.error = error
        keeper.restart()
    }

    /// Why the connection was lost.
    func takeError() -> any Error {
        defer { error = PostgresError(.connectionLost, "lost") }
        return error
    }

    /// - Parameter execute: what the statement does to the database, at once; nil if it fails.
    func submit<Value>(
        isBlocked: (() -> Bool)? = nil, _ execute: @escaping (SimulatedConnection) -> Value?,
        _ completion: @escaping (Result<Value, PostgresError>) -> Void
    ) {
        guard let connection = keeper.current else { return completion(.failure(.unreachable)) }
        connection.submit(isBlocked: isBlocked, { execute(connection) }) { value in
            let failure = PostgresError(connection.isOpen ? .server : .connectionLost, "a statement failed")
            completion(value.map { .success($0) } ?? .failure(failure))
        }
    }
}
