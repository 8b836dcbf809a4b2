import Foundation
import Synchronization

/// Prepared transactions that wait for their end, which any connection may bring.
final class PreparedPool: Sendable {
    struct Pending {
        let name: String
        let commits: Bool
        let due: ContinuousClock.Instant
    }

    /// The names of this program's prepared transactions begin so, and no others.
    static let prefix = "evt-load mix "
    static func name(_ rest: String) -> String { "\(prefix)\(getpid()) \(rest) \(UInt32.random(in: 0...UInt32.max))" }

    private let pending = Mutex<[Pending]>([])

    func add(_ transaction: Pending) { pending.withLock { $0.append(transaction) } }

    /// One that has been prepared for long enough.
    func takeDue(at now: ContinuousClock.Instant) -> Pending? {
        pending.withLock { pending in
            pending.firstIndex { $0.due <= now }.map { pending.remove(at: $0) }
        }
    }

    /// Any that is left.
    func take() -> Pending? { pending.withLock { $0.popLast() } }
}
