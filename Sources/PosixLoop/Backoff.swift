/// Growing pauses between attempts: doubling from `first` up to `longest`, each shortened by a random part so that
/// many clients do not come back in step.
package struct Backoff: Sendable {
    package let first: Duration
    package let longest: Duration
    private var attempts = 0

    /// - Parameters:
    ///   - first: the first pause; more than zero.
    ///   - longest: no pause is longer; at least `first`.
    package init(first: Duration, longest: Duration) {
        self.first = first
        self.longest = longest
    }

    package mutating func reset() { attempts = 0 }

    package mutating func next(random: Double = .random(in: 0..<1)) -> Duration {
        let full = min(longest, first * (1 << min(attempts, 20)))
        attempts += 1
        return full * (1 - 0.3 * random)
    }
}
