package import EventStream

/// Decides when a small table that is written all the time has grown so far beyond its rows that it is to be made anew.
///
/// Without old snapshots PostgreSQL itself keeps such tables small, and nothing is ever done.
package struct UpkeepPlan<Table: Hashable & Sendable>: Sendable {
    private struct State {
        /// Bytes it had when it was made anew last.
        var fresh: Int
        var retryAt: MonotonicTime?
        var failures = 0
    }

    package enum Outcome: Hashable, Sendable {
        case done(bytes: Int)
        /// Somebody uses the table.
        case busy
        case impossible
    }

    private var states: [Table: State] = [:]

    /// A table of so few bytes costs little, whatever is in it.
    package static var least: Int { 64 << 10 }
    /// How many times as large as it was it may become.
    package static var factor: Int { 3 }
    private static var firstPause: Duration { .milliseconds(500) }
    private static var longestPause: Duration { .seconds(30) }
    private static var pauseOfTheImpossible: Duration { .seconds(600) }

    package init() {}

    /// - Returns: the tables to make anew now, the one that has grown most first.
    package func due(_ sizes: [Table: Int], at now: MonotonicTime) -> [Table] {
        sizes.filter { table, bytes in
            let fresh = states[table]?.fresh ?? 0
            return bytes > max(Self.least, fresh * Self.factor) && states[table]?.retryAt.map { $0 <= now } ?? true
        }.sorted { $0.value > $1.value }.map(\.key)
    }

    /// How long statements that use the table may be waited for: less than others wait for a lock, and than a deadlock takes to be found.
    package static var timeout: Duration { .milliseconds(400) }

    package mutating func ended(_ table: Table, _ outcome: Outcome, at now: MonotonicTime) {
        var state = states[table] ?? State(fresh: 0)
        switch outcome {
        case .done(let bytes): state = State(fresh: bytes)
        case .busy:
            // Whoever waits for the lock keeps others waiting as well: rather seldom.
            state.retryAt = now + min(Self.longestPause, Self.firstPause * (1 << min(state.failures, 10)))
            state.failures += 1
        case .impossible: state.retryAt = now + Self.pauseOfTheImpossible
        }
        states[table] = state
    }
}
