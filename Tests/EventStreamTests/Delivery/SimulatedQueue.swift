import EventStream

/// PostgreSQL as far as the event table is concerned: the sequence, the lock table, what is visible.
///
/// A commit is two steps, visible first and the lock let go later, as in PostgreSQL; everything else may come between.
struct SimulatedQueue {
    private struct Level {
        var ids: [Int64] = []
        var tookLock = false
    }

    private struct Writer {
        var holder: SettledHorizon.Holder
        /// The transaction and its open savepoints.
        var levels = [Level()]
        var isPrepared = false
        var isVisible = false
        var holdsLock: Bool { levels.contains(where: \.tookLock) }
    }

    struct Habits {
        var writers = 5
        var preparesInHundred = 0
        var rollbacksInHundred = 20
    }

    private let habits: Habits
    private var writers: [Writer] = []
    private var transactions = 0
    private var sequence: Int64 = 0
    /// Ids of committed events, in order.
    private(set) var committed: [Int64] = []

    init(_ habits: Habits) { self.habits = habits }

    var isQuiet: Bool { writers.isEmpty }

    /// A snapshot of `pg_locks`.
    var holders: Set<SettledHorizon.Holder> { Set(writers.filter(\.holdsLock).map(\.holder)) }

    func countCommitted(through id: EventID) -> Int { index(after: id.rawValue) }

    /// A snapshot of the table.
    func rows(after id: EventID, limit: Int) -> [EventID] {
        committed[index(after: id.rawValue)...].prefix(limit).map { EventID($0) }
    }

    private func index(after id: Int64) -> Int {
        var (low, high) = (0, committed.count)
        while low < high {
            let middle = (low + high) / 2
            if committed[middle] <= id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Something happens.
    mutating func step(_ random: inout SeededGenerator) {
        if writers.count < habits.writers, writers.isEmpty || random.chance(30) { return begin() }
        let writer = random.below(writers.count)
        guard !writers[writer].isVisible else { return end(writer) }
        guard !writers[writer].isPrepared else {
            return random.chance(habits.rollbacksInHundred) ? end(writer) : makeVisible(writer)
        }
        switch random.below(10) {
        case 0: writers[writer].levels.append(Level())
        case 1: rollbackToSavepoint(writer)
        case 2: releaseSavepoint(writer)
        case 3...6: insert(writer)
        default: finish(writer, &random)
        }
    }

    /// Nobody begins anything new; those at work come to an end.
    mutating func windDown(_ random: inout SeededGenerator) {
        guard !writers.isEmpty else { return }
        let writer = random.below(writers.count)
        if writers[writer].isVisible { end(writer) } else { finish(writer, &random) }
    }

    private mutating func begin() {
        transactions += 1
        let backend = Int32(transactions % 7 + 1)
        writers.append(Writer(holder: .init(transaction: "\(backend)/\(transactions)", processID: backend)))
    }

    /// The lock first, the id afterwards: two steps.
    private mutating func insert(_ writer: Int) {
        let top = writers[writer].levels.count - 1
        guard writers[writer].holdsLock else { return writers[writer].levels[top].tookLock = true }
        sequence += 1
        writers[writer].levels[top].ids.append(sequence)
    }

    private mutating func rollbackToSavepoint(_ writer: Int) {
        guard writers[writer].levels.count > 1 else { return }
        writers[writer].levels.removeLast()
    }

    private mutating func releaseSavepoint(_ writer: Int) {
        guard writers[writer].levels.count > 1, let level = writers[writer].levels.popLast() else { return }
        let top = writers[writer].levels.count - 1
        writers[writer].levels[top].ids += level.ids
        if level.tookLock { writers[writer].levels[top].tookLock = true }
    }

    private mutating func finish(_ writer: Int, _ random: inout SeededGenerator) {
        if random.chance(habits.rollbacksInHundred) { return end(writer) }
        if !writers[writer].isPrepared, random.chance(habits.preparesInHundred) {
            writers[writer].isPrepared = true
            writers[writer].holder = .init(transaction: "-1/\(transactions * 100 + writer)")
            transactions += 1
            return
        }
        makeVisible(writer)
    }

    private mutating func makeVisible(_ writer: Int) {
        writers[writer].isVisible = true
        for id in writers[writer].levels.flatMap(\.ids) { committed.insert(id, at: index(after: id)) }
    }

    private mutating func end(_ writer: Int) { writers.remove(at: writer) }
}
