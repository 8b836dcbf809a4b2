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
    /// Since when the table was in use each time it was to be emptied.
    private var busySince: MonotonicTime?
    private var told: MonotonicTime?

    /// A table that is in use for longer is worth a line of the log, as often as this.
    static let warningInterval = Duration.seconds(600)

    /// - Parameter window: for how long a key is known at least. It may be known for a sixteenth longer than need be.
    init(window: Duration) { period = min(window / 16, .seconds(60)) }

    func isDue(at now: MonotonicTime) -> Bool { next.map { $0 <= now } ?? true }

    mutating func ended(_ outcome: Outcome, at now: MonotonicTime) {
        // Whoever waits behind it, waits seldom.
        next = now + (outcome == .busy ? min(period, .seconds(1)) : outcome == .refused ? .seconds(600) : period)
        guard outcome == .busy else { return (busySince, told) = (nil, nil) }
        busySince = busySince ?? now
    }

    /// Since when keys could not be removed, where that is to be told now.
    mutating func overdue(at now: MonotonicTime) -> Duration? {
        guard let busySince, now - busySince >= KeyRotation.warningInterval,
            told.map({ now - $0 >= KeyRotation.warningInterval }) ?? true
        else { return nil }
        told = now
        return now - busySince
    }
}
