import DequeModule

/// Turns at catching up: a few at a time, the others in the order they asked.
///
/// Reads share one connection, so more at a time would gain nothing, and every page in the air takes memory.
package struct CatchUpQueue<Reader: Hashable> {
    private let limit: Int
    private var active = 0
    private var waiting: Deque<Reader> = []
    private var isWaiting: Set<Reader> = []

    /// - Parameter limit: reads at a time; 2 keep the database busy while a page is put into its wire form.
    package init(limit: Int = 2) { self.limit = limit }

    /// A reader wants to begin a read.
    ///
    /// - Returns: whether it may at once; else it gets its turn from ``ended()``.
    package mutating func mayBegin(_ reader: Reader) -> Bool {
        guard active < limit, waiting.isEmpty else {
            if isWaiting.insert(reader).inserted { waiting.append(reader) }
            return false
        }
        active += 1
        return true
    }

    /// A read ended.
    ///
    /// - Returns: whose turn it is; if that one has nothing to read any more, its read has ended, too.
    package mutating func ended() -> Reader? {
        guard let next = waiting.popFirst() else {
            active -= 1
            return nil
        }
        isWaiting.remove(next)
        return next
    }
}
