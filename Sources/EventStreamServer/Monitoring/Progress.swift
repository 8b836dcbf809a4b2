package import EventStream

/// Whether work that waits goes on.
package struct Progress {
    package private(set) var waitingSince: MonotonicTime?
    private var problem: (text: String, at: MonotonicTime)?

    /// How long something may wait without anything being done, before that is a problem.
    package static let stallTimeout = Duration.seconds(15)
    /// For how long a failure counts after which nothing was tried any more.
    package static let memory = Duration.seconds(60)

    package init() {}

    /// There is something to do.
    package mutating func waits(at now: MonotonicTime = .now) { if waitingSince == nil { waitingSince = now } }

    /// Something was done.
    ///
    /// - Parameter more: whether something still waits.
    package mutating func moved(more: Bool, at now: MonotonicTime = .now) {
        waitingSince = more ? now : nil
        problem = nil
    }

    /// It was tried, and failed.
    package mutating func failed(_ text: String, at now: MonotonicTime = .now) { problem = (text, now) }

    /// What is wrong, if anything is.
    ///
    /// - Parameter what: what waits, as in `12 events wait`.
    package func trouble(_ what: @autoclosure () -> String, at now: MonotonicTime = .now) -> String? {
        if let problem, waitingSince != nil || now - problem.at < Progress.memory { return problem.text }
        guard let waitingSince, now - waitingSince > Progress.stallTimeout else { return nil }
        return "\(what()), and nothing has moved for \((now - waitingSince).components.seconds) s"
    }
}
