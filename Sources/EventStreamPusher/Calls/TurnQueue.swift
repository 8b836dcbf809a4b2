import DequeModule

/// Work that waits its turn: of each owner a few pieces are under way at a time, the others of its own wait behind them.
package struct TurnQueue<Owner: Hashable, Work> {
    package enum Outcome: Hashable, Sendable {
        /// It is its turn now; ``ended(of:)`` is to be called when it is done.
        case begins
        case waits
        /// Too much waits already.
        case refused
    }

    private struct Turns {
        var underWay = 0
        var waiting: Deque<Work> = []
    }

    private let (ownerLimit, limit): (Int, Int)
    private var turns: [Owner: Turns] = [:]
    package private(set) var count = 0

    /// - Parameters:
    ///   - ownerLimit: pieces of one owner, waiting and under way.
    ///   - limit: of all together.
    package init(ownerLimit: Int, limit: Int) { (self.ownerLimit, self.limit) = (ownerLimit, limit) }

    /// - Parameter atOnce: how many of this owner's pieces may be under way at the same time.
    package mutating func add(_ work: Work, of owner: Owner, atOnce: Int = 1) -> Outcome {
        var mine = turns[owner] ?? Turns()
        let held = mine.underWay + mine.waiting.count
        // Whoever has nothing in it is not kept out by others.
        guard held < ownerLimit, count < limit || held == 0 else { return .refused }
        count += 1
        defer { turns[owner] = mine }
        guard mine.underWay < atOnce else {
            mine.waiting.append(work)
            return .waits
        }
        mine.underWay += 1
        return .begins
    }

    /// - Returns: the owner's next piece, whose turn it is now.
    package mutating func ended(of owner: Owner) -> Work? {
        guard var mine = turns[owner] else { return nil }
        count -= 1
        let next = mine.waiting.popFirst()
        if next == nil { mine.underWay -= 1 }
        turns[owner] = mine.underWay == 0 ? nil : mine
        return next
    }
}
