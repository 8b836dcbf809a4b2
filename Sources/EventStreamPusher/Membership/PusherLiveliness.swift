package import EventStream

/// Judges which of the pushers on a database are dead: those that have not given a sign of life for three times as long as
/// they mean to, each by its own interval.
package struct PusherLiveliness: Sendable {
    private struct Seen {
        var beat: Int64
        var interval: Duration
        /// When this beat was seen first.
        var since: MonotonicTime
    }

    private var pushers: [Int64: Seen] = [:]
    /// When it was looked last. What has happened since nobody knows.
    private var lookedAt: MonotonicTime?

    package init() {}

    /// These are the signs of life there are.
    ///
    /// - Parameter now: when the look began.
    package mutating func saw(_ beats: [Int64: (beat: Int64, interval: Duration)], at now: MonotonicTime) {
        lookedAt = now
        pushers = beats.reduce(into: [:]) { result, each in
            var seen = Seen(beat: each.value.beat, interval: each.value.interval, since: now)
            if let known = pushers[each.key], known.beat == each.value.beat { seen.since = known.since }
            result[each.key] = seen
        }
    }

    /// Those whose sessions may be taken over.
    package func dead(besides own: Int64) -> [Int64] {
        guard let lookedAt else { return [] }
        return pushers.filter { $0.key != own && lookedAt - $0.value.since >= $0.value.interval * 3 }.map(\.key).sorted()
    }
}
