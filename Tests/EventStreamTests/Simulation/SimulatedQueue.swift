import EventStream
import EventStreamDatabase
import TestSupport

/// PostgreSQL as far as the event table is concerned: the sequence, the lock table, what is visible, the latch.
///
/// A commit is two steps, visible first and the locks let go later, as in PostgreSQL; everything else may come between.
struct SimulatedQueue {
    struct Row: Hashable {
        let id: Int64
        let type: Int
        /// After how many fail-overs it was recorded: ids that were lost may come again with other events.
        var era = 0
    }

    private struct Level {
        var rows: [Row] = []
        var tookLock = false
        var sharesLatch = false
        var notifies = false
    }

    private struct Writer {
        var holder: TableWriter
        /// The transaction and its open savepoints.
        var levels = [Level()]
        /// What the statement under way still has to insert, and whether its trigger is still to run.
        var rowsToCome = 0
        var isTriggerDue = false
        var isPrepared = false
        var isVisible = false
        var notifiesAtEnd = false
        var holdsLock: Bool { levels.contains(where: \.tookLock) }
        var process: Int32 { holder.processID ?? 0 }
    }

    struct Habits {
        var writers = 5
        var preparesInHundred = 0
        /// Whether a prepared transaction holds its locks under another name, as before PostgreSQL 14.
        var renamesPrepared = true
        var rollbacksInHundred = 20
        /// Rows a statement inserts at most; each draws its id when its turn comes.
        var rowsAtOnce = 1
        /// How often ids are lost, or the sequence is set forward.
        var jumpsInHundred = 0
        /// Whether some of these are so far that another segment of the table is next.
        var leaps = false
        /// How often each type comes up, in hundred.
        var types = [100]
        /// Whether the trigger that tries the latch may notify.
        var notifies = true
    }

    let habits: Habits
    private var writers: [Writer] = []
    private var transactions = 0
    private var sequence: Int64 = 0
    /// Committed events, in order of their ids.
    private(set) var committed: [Row] = []
    /// Whether a reader has the latch for itself.
    var isLatched = false
    /// Fail-overs so far.
    private(set) var era = 0
    /// What became visible since it was last asked for, and how many transactions have notified.
    private var news: [Row] = []
    /// Who has notified.
    private var notifications: [Int32] = []

    init(_ habits: Habits) { self.habits = habits }

    var isQuiet: Bool { writers.isEmpty }
    var hasNews: Bool { !news.isEmpty || !notifications.isEmpty }

    mutating func takeNews() -> (rows: [Row], notifications: [Int32]) {
        defer { (news, notifications) = ([], []) }
        return (news, notifications)
    }

    // MARK: What readers see

    /// A snapshot of `pg_locks`.
    var holders: Set<TableWriter> { Set(writers.filter(\.holdsLock).map(\.holder)) }

    var isLatchShared: Bool { writers.contains { $0.levels.contains(where: \.sharesLatch) } }

    /// The lowest id that may still become visible.
    var lowestInFlight: Int64 {
        var lowest = Int64.max
        for writer in writers where !writer.isVisible {
            for level in writer.levels { if let row = level.rows.first, row.id < lowest { lowest = row.id } }
        }
        return lowest
    }

    func hasRowsInFlight(_ isMeant: (Int64) -> Bool) -> Bool {
        writers.contains { writer in !writer.isVisible && writer.levels.contains { $0.rows.contains { isMeant($0.id) } } }
    }

    func index(after id: Int64) -> Int {
        guard let last = committed.last, last.id > id else { return committed.count }
        var (low, high) = (0, committed.count)
        while low < high {
            let middle = (low + high) / 2
            if committed[middle].id <= id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    // MARK: What writers do

    /// Something happens.
    mutating func step(_ random: inout SplitMix) {
        if writers.count < habits.writers, writers.isEmpty || random.chance(30) { return begin() }
        let writer = random.below(writers.count)
        guard !writers[writer].isVisible else { return end(writer) }
        guard !writers[writer].isPrepared else {
            return random.chance(habits.rollbacksInHundred) ? end(writer) : makeVisible(writer, &random)
        }
        guard !isBusy(writer) else { return random.chance(1) ? end(writer) : insert(writer, &random) }
        switch random.below(10) {
        case 0: writers[writer].levels.append(Level())
        case 1: rollbackToSavepoint(writer)
        case 2: releaseSavepoint(writer)
        case 3...6: insert(writer, &random)
        default: finish(writer, &random)
        }
    }

    /// Nobody begins anything new; those at work come to an end.
    mutating func windDown(_ random: inout SplitMix) {
        guard !writers.isEmpty else { return }
        let writer = random.below(writers.count)
        if writers[writer].isVisible {
            end(writer)
        } else if isBusy(writer) {
            insert(writer, &random)
        } else {
            finish(writer, &random)
        }
    }

    /// The server crashes: what is not prepared is gone, and with it some ids.
    mutating func crash(_ random: inout SplitMix) {
        writers.removeAll { !$0.isPrepared || $0.isVisible }
        sequence += Int64(random.below(32))
    }

    /// A standby that has received this much takes over.
    mutating func takeOver(in era: Int, _ random: inout SplitMix) {
        crash(&random)
        (self.era, isLatched, news, notifications) = (era, false, [], [])
    }

    /// Ids go on far beyond all there are, and beyond this one.
    mutating func leap(beyond id: Int64) { sequence = max(sequence, id, committed.last?.id ?? 0) + 1_000_000 }

    /// The last id that was drawn.
    var lastID: Int64 { sequence }

    /// A statement is under way, or its trigger has not run.
    private func isBusy(_ writer: Int) -> Bool { writers[writer].rowsToCome > 0 || writers[writer].isTriggerDue }

    private mutating func begin() {
        transactions += 1
        let backend = Int32(transactions % 7 + 1)
        writers.append(Writer(holder: .init(transaction: "\(backend)/\(transactions)", processID: backend)))
    }

    /// The lock first, the ids afterwards, one by one, the trigger last: each a step.
    private mutating func insert(_ writer: Int, _ random: inout SplitMix) {
        let top = writers[writer].levels.count - 1
        guard writers[writer].holdsLock else { return writers[writer].levels[top].tookLock = true }
        guard !writers[writer].isTriggerDue else { return trigger(writer) }
        if writers[writer].rowsToCome == 0 {
            writers[writer].rowsToCome = habits.rowsAtOnce > 1 && random.chance(30) ? random.pick(1...habits.rowsAtOnce) : 1
        }
        sequence += 1
        if habits.jumpsInHundred > 0, random.chance(habits.jumpsInHundred) {
            sequence += habits.leaps && random.chance(5) ? Int64(random.pick(1...3)) << 16 : Int64(random.pick(1...40))
        }
        writers[writer].levels[top].rows.append(Row(id: sequence, type: type(&random), era: era))
        writers[writer].rowsToCome -= 1
        writers[writer].isTriggerDue = writers[writer].rowsToCome == 0
    }

    private func type(_ random: inout SplitMix) -> Int {
        guard habits.types.count > 1 else { return 0 }
        var rest = random.below(100)
        for (type, share) in habits.types.enumerated() {
            if rest < share { return type }
            rest -= share
        }
        return 0
    }

    private mutating func trigger(_ writer: Int) {
        let top = writers[writer].levels.count - 1
        writers[writer].isTriggerDue = false
        if !isLatched {
            writers[writer].levels[top].sharesLatch = true
        } else if habits.notifies {
            writers[writer].levels[top].notifies = true
        }
    }

    private mutating func rollbackToSavepoint(_ writer: Int) {
        guard writers[writer].levels.count > 1 else { return }
        writers[writer].levels.removeLast()
    }

    private mutating func releaseSavepoint(_ writer: Int) {
        guard writers[writer].levels.count > 1, let level = writers[writer].levels.popLast() else { return }
        let top = writers[writer].levels.count - 1
        writers[writer].levels[top].rows += level.rows
        if level.tookLock { writers[writer].levels[top].tookLock = true }
        if level.sharesLatch { writers[writer].levels[top].sharesLatch = true }
        if level.notifies { writers[writer].levels[top].notifies = true }
    }

    private mutating func finish(_ writer: Int, _ random: inout SplitMix) {
        if random.chance(habits.rollbacksInHundred) { return end(writer) }
        if !writers[writer].isPrepared, random.chance(habits.preparesInHundred) {
            // PREPARE TRANSACTION is refused after a NOTIFY.
            guard !writers[writer].levels.contains(where: \.notifies) else { return end(writer) }
            writers[writer].isPrepared = true
            guard habits.renamesPrepared else {
                return writers[writer].holder = .init(transaction: writers[writer].holder.transaction)
            }
            writers[writer].holder = .init(transaction: "-1/\(transactions * 100 + writer)")
            transactions += 1
            return
        }
        makeVisible(writer, &random)
    }

    private mutating func makeVisible(_ writer: Int, _ random: inout SplitMix) {
        writers[writer].isVisible = true
        for level in writers[writer].levels {
            for row in level.rows {
                committed.insert(row, at: index(after: row.id))
                news.append(row)
            }
        }
        // Listeners hear of it at some time after the commit is visible: with the locks still held, or later.
        guard writers[writer].levels.contains(where: \.notifies) else { return }
        if random.chance(50) { notifications.append(writers[writer].process) } else { writers[writer].notifiesAtEnd = true }
    }

    private mutating func end(_ writer: Int) {
        let ended = writers.remove(at: writer)
        if ended.notifiesAtEnd { notifications.append(ended.process) }
    }
}
