package import EventStream

/// How many requests a second somebody makes, against how many are allowed: two leaky buckets that hold a second's worth.
///
/// What is allowed goes on while more is asked; and so many more are refused with a word. Beyond that there is none.
package struct RateMeter: Hashable, Sendable {
    package enum Verdict: Hashable, Sendable {
        case allowed
        /// Too many: to be answered with a refusal.
        case refused
        /// Far too many: not worth being read.
        case ignored
    }

    private let rate: Double
    private var allowed = 0.0
    private var refused = 0.0
    private var last: MonotonicTime

    /// - Parameter rate: requests a second; at least 1.
    package init(rate: Int, at now: MonotonicTime) {
        self.rate = Double(max(rate, 1))
        last = now
    }

    /// What a request now would be met with.
    package mutating func verdict(at now: MonotonicTime) -> Verdict {
        leak(at: now)
        return allowed + 1 <= rate ? .allowed : refused + 1 <= rate ? .refused : .ignored
    }

    package mutating func charge(at now: MonotonicTime) -> Verdict {
        let verdict = verdict(at: now)
        switch verdict {
        case .allowed: allowed += 1
        case .refused: refused += 1
        case .ignored: break
        }
        return verdict
    }

    private mutating func leak(at now: MonotonicTime) {
        let leaked = max(0, (now - last) / .seconds(1)) * rate
        last = max(last, now)
        (allowed, refused) = (max(0, allowed - leaked), max(0, refused - leaked))
    }
}
