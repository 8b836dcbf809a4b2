package import EventStream

/// Keeps the log short while a trouble lasts: each kind is told when it begins, and then once in a while.
package struct TroubleLog {
    private static let interval = Duration.seconds(60)
    /// Words that differ within an interval; of more there is nothing new to learn.
    private static let limit = 100
    private var told: [String: MonotonicTime] = [:]
    private var isTold = true

    package init() {}

    /// Whether a trouble of these words is to be told now.
    package mutating func isNews(_ words: String, at now: MonotonicTime = .now) -> Bool {
        told = told.filter { now - $0.value < TroubleLog.interval }
        guard told[words] == nil, told.count < TroubleLog.limit else { return false }
        told[words] = now
        isTold = true
        return true
    }

    /// Whether it is to be told that all is well again: at first, and after a trouble that was told.
    package mutating func isGoodNews() -> Bool {
        defer { isTold = false }
        return isTold
    }
}
