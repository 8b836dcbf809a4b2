/// Decides which rows may be delivered although ids become visible out of order.
///
/// A sequence hands ids out before the transactions that use them commit. Whoever may still fill a gap took
/// RowExclusiveLock on the table before it drew the id, and keeps it to the end of its transaction. So a gap is
/// permanent once everyone who held that lock *after* a row beyond the gap was seen has let go of it, and a read that
/// began later still shows the gap. The order of the two looks is what makes this sound: a lock is released only after
/// its transaction has become visible, so locks first, then a fresh snapshot.
///
/// The driver reports what it has read, in the order it read it: ``rows(_:at:)`` and ``holders(_:)``.
public struct SettledHorizon: Sendable {
    /// A transaction that holds RowExclusiveLock on the event table.
    ///
    /// The same whether or not it has been prepared meanwhile: PREPARE TRANSACTION takes the process away, and keeps the
    /// virtual transaction id (PostgreSQL 14 and later minor releases of 13) or makes it `-1/xid` (before).
    public struct Holder: Hashable, Sendable {
        /// `pg_locks.virtualtransaction`: `3/1742`, or `-1/981`.
        public let transaction: String
        /// The backend; nil for a prepared transaction.
        public let processID: Int32?

        public init(transaction: String, processID: Int32? = nil) {
            self.transaction = transaction
            self.processID = processID
        }

        public static func == (a: Holder, b: Holder) -> Bool { a.transaction == b.transaction }
        public func hash(into hasher: inout Hasher) { hasher.combine(transaction) }

        var isPrepared: Bool { transaction.hasPrefix("-1/") }
    }

    /// A stretch of ids that are not visible while later ones are.
    public struct Gap: Sendable {
        /// The last id before the gap.
        public let after: EventID
        public let openedAt: MonotonicTime
        /// The highest id seen before the holders were; every gap below it is theirs.
        fileprivate(set) var highest: EventID
        /// Those who may still fill it; nil until they have been looked at.
        public fileprivate(set) var holders: Set<Holder>?
        fileprivate var knownPrepared: Set<Holder> = []
    }

    /// Every event with an id up to here that there will ever be has been reported by ``rows(_:at:)``.
    public private(set) var settled: EventID
    /// The gap that deliveries wait at.
    public private(set) var gap: Gap?
    /// Gaps up to here are known to be permanent.
    private var passable: EventID

    public init(settled: EventID) {
        self.settled = settled
        passable = settled
    }

    /// Rows past ``settled`` were read, in id order.
    ///
    /// - Returns: how many of them, from the first, may be delivered; ``settled`` has moved over these.
    public mutating func rows(_ ids: some RandomAccessCollection<EventID>, at now: MonotonicTime) -> Int {
        var deliverable = 0
        for id in ids {
            guard id == settled.next || id <= passable else { break }
            settled = id
            deliverable += 1
        }
        guard deliverable < ids.count, let highest = ids.last else {
            gap = nil
            return deliverable
        }
        if gap?.after != settled {
            // What was learned about holders stays true for all gaps below the id noted then.
            if let known = gap, known.holders != nil, known.highest > settled {
                gap = Gap(
                    after: settled, openedAt: now, highest: known.highest, holders: known.holders,
                    knownPrepared: known.knownPrepared)
            } else {
                gap = Gap(after: settled, openedAt: now, highest: highest)
            }
        } else if gap?.holders == nil {
            gap?.highest = highest
        }
        return deliverable
    }

    /// The present holders of the lock were read, after the rows last reported.
    ///
    /// - Returns: whether rows are worth reading again now: somebody has ended.
    public mutating func holders(_ present: Set<Holder>) -> Bool {
        guard var gap else { return false }
        let prepared = present.filter(\.isPrepared)
        let remaining: Set<Holder>
        var someoneEnded = false
        if let remembered = gap.holders {
            var kept = present.filter { remembered.contains($0) }
            someoneEnded = kept.count < remembered.count
            // PREPARE TRANSACTION hands the lock on under a new name: a backend's that vanished may be the newcomer's.
            if remembered.subtracting(present).contains(where: { !$0.isPrepared }) {
                kept.formUnion(prepared.subtracting(gap.knownPrepared))
            }
            remaining = kept
        } else {
            remaining = present
        }
        gap.holders = remaining
        gap.knownPrepared = prepared
        if remaining.isEmpty { passable = max(passable, gap.highest) }
        self.gap = gap
        return someoneEnded || remaining.isEmpty
    }
}
