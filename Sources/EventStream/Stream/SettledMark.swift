/// The stream became settled up to this id between two moments.
package struct SettledMark: Hashable, Sendable {
    package let id: EventID
    /// It was not yet.
    package let since: EventTimestamp
    /// It was.
    package let at: EventTimestamp

    package init(id: EventID, since: EventTimestamp, at: EventTimestamp) {
        self.id = id
        self.since = since
        self.at = at
    }
}

/// Remembers when the stream was settled up to which id, to tell since when an event could be delivered: its own time is
/// what whoever recorded it says, years ago or in years to come, and counts as far as it fits.
package struct SettledTimes: Sendable {
    private var marks: [SettledMark] = []
    private let limit: Int
    /// Marks closer together than this, in microseconds, become one.
    private static let resolution: Int64 = 50_000

    /// - Parameter limit: marks kept at most; at least 2.
    package init(limit: Int = 1000) { self.limit = limit }

    /// What others have noted.
    package mutating func loaded(_ known: [SettledMark]) {
        let own = marks
        marks = []
        for mark in (known + own).sorted(by: { ($0.id, $0.at) < ($1.id, $1.at) }) where marks.last?.id != mark.id {
            // Clocks that were set may have made them overlap.
            marks.append(mark)
        }
        thinOut()
    }

    /// The stream is settled further than before.
    package mutating func settled(_ mark: SettledMark) {
        guard marks.last.map({ $0.id < mark.id }) ?? true else { return }
        if let last = marks.last, marks.count > 1, mark.at.microseconds - last.since.microseconds < SettledTimes.resolution,
            mark.since >= last.since
        {
            marks[marks.count - 1] = SettledMark(id: mark.id, since: last.since, at: mark.at)
        } else {
            marks.append(mark)
        }
        thinOut()
    }

    /// Of the older half every other one goes.
    private mutating func thinOut() {
        guard marks.count > limit else { return }
        let half = marks.count / 2
        marks = marks[..<half].enumerated().filter { $0.offset % 2 == 1 }.map(\.element) + marks[half...]
    }

    /// When an event could be delivered.
    ///
    /// - Parameters:
    ///   - time: its own time.
    ///   - now: the present time.
    package func waitingSince(_ id: EventID, _ time: EventTimestamp, now: EventTimestamp) -> EventTimestamp {
        var (low, high) = (0, marks.count)
        while low < high {
            let middle = (low + high) / 2
            if marks[middle].id < id { low = middle + 1 } else { high = middle }
        }
        let mark = low < marks.count ? marks[low] : nil
        if low > 0, time < marks[low - 1].at { return min(max(marks[low - 1].at, mark?.since ?? now), now) }
        return min(time, mark?.at ?? now)
    }
}
