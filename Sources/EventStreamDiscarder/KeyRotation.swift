import EventStream

/// When the discarder asks whether idempotency keys are to be removed. Pure: results in, times out.
///
/// Whether it is time, the database decides, by its own clock (function `rotate`).
struct KeyRotation {
    enum Outcome: Hashable, Sendable {
        case emptied
        case notYet
        /// Somebody records with an idempotency key, or reads the table.
        case busy
        /// There is no right to do it.
        case refused
    }

    private let period: Duration
    private var next: MonotonicTime?

    /// - Parameter window: for how long a key is known at least. It may be known for a sixteenth longer than need be.
    init(window: Duration) { period = min(window / 16, .seconds(60)) }

    func isDue(at now: MonotonicTime) -> Bool { next.map { $0 <= now } ?? true }

    mutating func ended(_ outcome: Outcome, at now: MonotonicTime) {
        // Whoever waits behind it, waits seldom.
        next = now + (outcome == .busy ? min(period, .seconds(1)) : outcome == .refused ? .seconds(600) : period)
    }
}
