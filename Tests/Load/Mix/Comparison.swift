import EventStream

/// Holds what a listener got against what was committed.
struct Comparison: Equatable {
    /// When a listener may be without an event that was committed.
    enum Allowance: Equatable {
        case never
        /// Where the server has said that it left events out.
        case announced
        /// After so many in a row: no queue of that length can have run over before.
        case afterQueue(of: Int)
        /// Wherever: nobody tells.
        case untold
    }

    var expected = 0
    var received = 0
    var lost = 0
    /// Not received, as the delivery's own rules allow.
    var dropped = 0
    var doubled = 0
    /// Received after a later one.
    var outOfOrder = 0
    /// Received and never committed.
    var uncommitted = 0

    /// - Parameters:
    ///   - committed: the ids of what the listener wants, in order.
    ///   - fromFirst: what was committed before the first event received does not count.
    init(committed: [EventID], contents: Recording.Contents, allowance: Allowance, fromFirst: Bool) {
        let ids = contents.ids
        let beginning = fromFirst ? ids.first ?? EventID(.max) : .none
        var next = committed.firstIndex { $0 >= beginning } ?? committed.count
        expected = committed.count - next
        received = ids.count

        var missing: [EventID: Bool] = [:]
        var newest: EventID?
        var inARow = 0
        for (index, id) in ids.enumerated() {
            guard newest.map({ id > $0 }) ?? true else {
                if let wasAllowed = missing.removeValue(forKey: id) {
                    outOfOrder += 1
                    if wasAllowed { dropped -= 1 } else { lost -= 1 }
                } else {
                    doubled += 1
                }
                continue
            }
            newest = id
            let isAllowed =
                switch allowance {
                case .never: false
                case .announced: contents.skips.contains(index)
                case .afterQueue(let length): inARow >= length
                case .untold: true
                }
            while next < committed.count, committed[next] < id {
                missing[committed[next]] = isAllowed
                if isAllowed { dropped += 1 } else { lost += 1 }
                next += 1
                inARow = 0
            }
            if next < committed.count, committed[next] == id {
                next += 1
                inARow += 1
            } else {
                uncommitted += 1
            }
        }
        // What should still have come: nothing was dropped to make room for later ones.
        lost += committed.count - next
    }

    var isGood: Bool { lost == 0 && doubled == 0 && outOfOrder == 0 && uncommitted == 0 }
}
