import DequeModule
import EventStream
import EventStreamServer

/// What waits to be recorded, in the order in which it goes into commits.
///
/// A commit that fails because of one of its events is tried again in halves, down to single events; before those halves are
/// done nothing newer is taken.
struct RecordingQueue<Element> {
    struct Limits {
        /// Events one commit may have; at least 1.
        var commitMax: Int
        /// Of one account while others wait, too; at least 1.
        var commitShare: Int
        /// Events that may wait, and bytes of their data; half of each for one account.
        var events: Int
        var bytes: Int
    }

    struct Batch {
        var events: [Element]
        /// Until when those at fault are looked for among them; nil before anything failed.
        fileprivate(set) var searchEnd: MonotonicTime?
    }

    private let limits: Limits
    private var waiting = FairQueue<Account, Element>()
    private var halves: Deque<Batch> = []

    init(_ limits: Limits) { self.limits = limits }

    /// Events that were in no commit yet.
    var count: Int { waiting.count }
    var isEmpty: Bool { waiting.isEmpty && halves.isEmpty }

    mutating func add(_ element: Element, of account: Account, bytes: Int) throws(EventStreamError) {
        let mine = waiting.count(of: account)
        // Of what there is room for, half is for the others.
        guard mine <= limits.events / 2, waiting.weight(of: account) <= limits.bytes / 2, waiting.count < limits.events,
            waiting.weight < limits.bytes
        else { throw .defenseRejected("the event was not recorded: too many are waiting already, \(mine) of them yours") }
        waiting.append(element, of: account, weight: bytes)
    }

    /// Takes what the next commit is of; nil if there is nothing.
    mutating func next() -> Batch? {
        if let half = halves.popFirst() { return half }
        return waiting.isEmpty ? nil : Batch(events: waiting.take(limits.commitMax, share: limits.commitShare))
    }

    /// Nothing of the batch was recorded, and one of its events may be at fault: its second half is taken next.
    ///
    /// - Returns: the first half, to be tried now; nil if the batch cannot be halved or has been searched for too long.
    mutating func halve(_ batch: Batch, at now: MonotonicTime) -> Batch? {
        guard batch.events.count > 1, batch.searchEnd.map({ $0 > now }) ?? true else { return nil }
        let (middle, end) = (batch.events.count / 2, batch.searchEnd ?? now + RecordingFailure.searchLimit)
        halves.prepend(Batch(events: Array(batch.events[middle...]), searchEnd: end))
        return Batch(events: Array(batch.events[..<middle]), searchEnd: end)
    }

    mutating func takeAll() -> [Element] {
        defer { halves.removeAll() }
        return halves.flatMap(\.events) + waiting.takeAll()
    }
}
