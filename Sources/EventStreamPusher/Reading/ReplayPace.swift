import EventStream

/// How much of its time a pusher gives to events of the archive: those at the head must not wait for who reads a year of history.
struct ReplayPace {
    /// Percent of the time, 1 to 100.
    private let share: Int
    private var next: MonotonicTime?

    init(share: Int) { self.share = share }

    /// How long the next page has to wait.
    func pause(at now: MonotonicTime) -> Duration { next.map { max(.zero, $0 - now) } ?? .zero }

    /// A page took so long to be put into its wire form and sent.
    mutating func worked(_ time: Duration, until now: MonotonicTime) { next = now + time * (100 - share) / share }
}
