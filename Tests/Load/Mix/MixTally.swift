import Synchronization

/// What the writers did.
final class MixTally: Sendable {
    private struct State {
        var done: [MixTransaction.Kind: Int] = [:]
        var rolledBack = 0
        var passing = 0
        var failures = 0
    }

    private let state = Mutex(State())

    func did(_ transaction: MixTransaction) {
        state.withLock {
            $0.done[transaction.kind, default: 0] += 1
            switch transaction.ending {
            case .rollBack, .lost, .prepare(_, commits: false): $0.rolledBack += 1
            case .alone, .commit, .prepare: break
            }
        }
    }

    /// - Parameter isPassing: the server was away, or the like: nothing to do with events.
    func failed(_ text: String, isPassing: Bool) {
        let count = state.withLock {
            if isPassing { $0.passing += 1 } else { $0.failures += 1 }
            return $0.passing + $0.failures
        }
        if count <= 20 { print("  \(text)") }
    }

    /// Statements that failed and should not have.
    var failures: Int { state.withLock { $0.failures } }

    var lines: [String] {
        let state = state.withLock { $0 }
        let kinds = MixTransaction.Kind.allCases.map { "\($0.rawValue) \(state.done[$0, default: 0])" }
        let total = state.done.values.reduce(0, +)
        return [
            "transactions          \(total), \(state.rolledBack) of them rolled back",
            "  " + kinds.joined(separator: ", "),
        ] + (state.passing > 0 ? ["  tried again after the server was away: \(state.passing)"] : [])
    }
}
