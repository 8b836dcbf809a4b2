import Synchronization
import UnixSignals

/// SIGINT and SIGTERM: the first ends the load, the second the waiting for what is still to come.
final class Interruption: Sendable {
    private let count = Mutex(0)

    /// Whether to write no more.
    var endsLoad: Bool { count.withLock { $0 > 0 } }
    var endsWaiting: Bool { count.withLock { $0 > 1 } }

    /// Notes signals until the task is cancelled.
    func watch() async -> Task<Void, Never> {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        return Task { for await _ in signals { count.withLock { $0 += 1 } } }
    }
}
