import DequeModule

/// Lines of the log that wait to be written: so many bytes at most. When there is no room, the newest are dropped and counted.
///
/// What has been dropped is told in the place where it would have been, by a line of its own: after the lines that had waited
/// already, and before the first that found room again.
struct LogQueue {
    /// What is to be written next.
    struct Entry: Equatable {
        let bytes: [UInt8]
        /// How many lines were lost if it is not written.
        fileprivate let lines: Int
        /// Of these, those that the entry tells of, and that were counted when they were dropped.
        fileprivate let told: Int
    }

    /// What a line takes besides its bytes.
    private static let overhead = 64

    private let limit: Int
    private let notice: @Sendable (Int) -> [UInt8]
    private var entries: Deque<Entry> = []
    private var bytes = 0
    /// Lines that were dropped and not told of yet.
    private var untold = 0
    /// Something could not be written: nothing is tried before there is something new.
    private var mustWait = false
    /// Lines that were dropped, all together.
    private(set) var dropped = 0

    /// - Parameters:
    ///   - limit: bytes that may wait.
    ///   - notice: a line that tells how many were dropped.
    init(limit: Int, notice: @escaping @Sendable (Int) -> [UInt8]) {
        self.limit = limit
        self.notice = notice
    }

    /// Whether there is nothing to be written now.
    var isEmpty: Bool { entries.isEmpty && (untold == 0 || mustWait) }

    /// - Returns: whether the line was taken.
    @discardableResult
    mutating func append(_ line: [UInt8]) -> Bool {
        mustWait = false
        // Once lines are dropped it needs some room to go on: else each would stand beside a line about its predecessors.
        guard bytes + line.count + LogQueue.overhead <= (untold == 0 ? limit : limit / 2) else {
            dropped += 1
            untold += 1
            return false
        }
        tellOfDropped()
        add(Entry(bytes: line, lines: 1, told: 0))
        return true
    }

    /// The oldest entry; when nothing waits any more, a line about those that were dropped.
    mutating func next() -> Entry? {
        guard !isEmpty else { return nil }
        if entries.isEmpty { tellOfDropped() }
        guard let entry = entries.popFirst() else { return nil }
        bytes -= entry.bytes.count + LogQueue.overhead
        return entry
    }

    /// It could not be written: what it told is told later, with the number of those lost.
    mutating func failed(_ entry: Entry) {
        dropped += entry.lines - entry.told
        untold += entry.lines
        mustWait = entries.isEmpty
    }

    private mutating func tellOfDropped() {
        guard untold > 0 else { return }
        add(Entry(bytes: notice(untold), lines: untold, told: untold))
        untold = 0
    }

    private mutating func add(_ entry: Entry) {
        entries.append(entry)
        bytes += entry.bytes.count + LogQueue.overhead
    }
}
