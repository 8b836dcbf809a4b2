import EventStream

@testable import EventStreamArchiver
@testable import EventStreamDatabase

/// What a warehouse holds, and what each statement of `HistoryStore` does to it, at once.
struct SimulatedHistory {
    typealias Standing = HistoryStore.Standing

    /// In order of their ids.
    private(set) var rows: [SimulatedQueue.Row] = []
    private(set) var standing: Standing
    /// Rows of an earlier generation that were not in a later one.
    private(set) var lost: [SimulatedQueue.Row] = []

    init(want: EventFilter) { standing = Standing(position: .none, want: want) }

    private func index(after id: Int64) -> Int { rows.partitioningIndex { $0.id > id } }

    func rows(after first: EventID, through last: EventID) -> ArraySlice<SimulatedQueue.Row> {
        rows[index(after: first.rawValue)..<max(index(after: first.rawValue), index(after: last.rawValue))]
    }

    func begin() -> Standing {
        var found = standing
        found.newest = rows.last.map { EventID($0.id) }.flatMap { $0 > standing.position ? $0 : nil }
        return found
    }

    mutating func sign(_ token: String, insteadOf known: String?) -> Bool {
        guard standing.token == known else { return false }
        standing.token = token
        return true
    }

    /// - Returns: nil if the generation is over.
    mutating func follow(_ origin: StreamOrigin, from known: Standing) -> Standing? {
        guard known.generation != origin.generation else { return known }
        if let present = standing.generation, origin.generation.isBefore(present) { return nil }
        if standing.generation == known.generation, standing.token == known.token {
            standing.generation = origin.generation
            if known.generation != nil {
                standing.doubtfulAfter =
                    standing.hasDoubtful ? min(standing.doubtfulAfter, origin.common) : origin.common
                standing.doubtful = max(standing.doubtful, standing.position, rows.last.map { EventID($0.id) } ?? .none)
                standing.position = min(standing.position, origin.after, origin.common, standing.doubtfulAfter)
            }
        }
        var now = standing
        (now.want, now.newest) = (known.want, known.newest.map { max($0, now.doubtful) } ?? now.doubtful)
        return now
    }

    func holdsAny(from first: EventID, through last: EventID) -> Bool {
        !rows(after: EventID(first.rawValue - 1), through: last).isEmpty
    }

    /// - Parameter keeping: whether the rows are kept, as they should be.
    /// - Returns: nil if there are other events under some of the ids.
    mutating func append(_ copy: ArchivePlan.Copy, keeping: Bool = true) -> HistoryStore.Appended? {
        let arriving = copy.events.map { SimulatedEvent.row($0) }
        let known = copy.standing
        guard let last = copy.events.last?.id else { return .copied(0, lost: 0) }
        guard standing.position == known.position, standing.generation == known.generation, standing.token == known.token
        else { return .moved(standing) }
        var (kept, gone) = (rows, 0)
        let set = Set(arriving)
        // An id is unique within a partition only: one that is there with another time is noticed by who compares.
        if copy.comparing || kept.contains(where: { set.contains($0) }) {
            let range = known.doubtfulAfter.rawValue..<max(known.doubtfulAfter, min(last, known.doubtful)).rawValue
            let aside = kept.filter { range.contains($0.id - 1) && !set.contains($0) }
            gone = aside.count
            kept.removeAll { range.contains($0.id - 1) && !set.contains($0) }
            lost += aside
            let ids = Set(arriving.map(\.id))
            guard !kept.contains(where: { ids.contains($0.id) && !set.contains($0) }) else { return nil }
        }
        let before = Set(kept)
        let new = arriving.filter { !before.contains($0) }
        if keeping { kept = (kept + new).sorted { ($0.id, $0.era) < ($1.id, $1.era) } }
        rows = kept
        standing.position = max(standing.position, last)
        standing.doubtfulAfter = max(standing.doubtfulAfter, last)
        return .copied(new.count, lost: gone)
    }
}

extension RandomAccessCollection {
    /// The first index whose element fulfils the condition, which all later ones fulfil, too.
    fileprivate func partitioningIndex(_ isAfter: (Element) -> Bool) -> Index {
        var (low, count) = (startIndex, self.count)
        while count > 0 {
            let half = count / 2
            let middle = index(low, offsetBy: half)
            if isAfter(self[middle]) {
                count = half
            } else {
                low = index(after: middle)
                count -= half + 1
            }
        }
        return low
    }
}
