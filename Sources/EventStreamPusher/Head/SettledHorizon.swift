package import EventStream
package import EventStreamDatabase

/// Decides which rows may be delivered although ids become visible out of order.
///
/// A sequence hands ids out before the transactions that use them commit. Whoever may still fill a gap took
/// RowExclusiveLock on the table before it drew the id, and keeps it to the end of its transaction. So whoever holds the
/// lock now, and did not when an id was already visible, can only add later ids; and an id that is missing where nobody
/// can add one any more is missing for good. A lock is released only after its transaction has become visible: what was
/// learned from the locks holds for rows read afterwards, with a fresh snapshot. The other order would not be sound.
///
/// The driver reports what it has read, in the order it read it: ``rows(_:at:)`` and ``holders(_:newest:)``.
package struct SettledHorizon: Sendable {
    /// A stretch of ids that are not visible while later ones are.
    package struct Gap: Sendable {
        /// The last id before the gap.
        package let after: EventID
        /// The first id beyond it.
        package let before: EventID
        package let openedAt: MonotonicTime
        /// Those who may still fill it; nil until the locks have been looked at.
        package fileprivate(set) var holders: Set<TableWriter>?
    }

    /// Every event with an id up to here that there will ever be has been reported by ``rows(_:at:)``.
    package private(set) var settled: EventID
    /// The gap that deliveries wait at.
    package private(set) var gap: Gap?
    /// Gaps up to here are known to be permanent.
    private var passable: EventID
    /// What each present holder cannot add to any more: the newest id that was visible when it did not hold the lock.
    private var floors: [TableWriter: EventID] = [:]
    /// The newest id that was visible before the locks were looked at last.
    private var newest: EventID

    package init(settled: EventID) {
        self.settled = settled
        passable = settled
        newest = settled
    }

    /// Rows past ``settled`` were read, in id order.
    ///
    /// - Returns: how many of them, from the first, may be delivered; ``settled`` has moved over these.
    package mutating func rows(_ ids: some RandomAccessCollection<EventID>, at now: MonotonicTime) -> Int {
        var deliverable = 0
        var beyond: EventID?
        for id in ids {
            guard id == settled.next || id <= passable else {
                beyond = id
                break
            }
            settled = id
            deliverable += 1
        }
        if let beyond {
            if gap?.after != settled || gap?.before != beyond {
                let openedAt = gap?.after == settled ? gap?.openedAt : nil
                gap = Gap(after: settled, before: beyond, openedAt: openedAt ?? now, holders: knownHolders(before: beyond))
            }
        } else {
            gap = nil
        }
        return deliverable
    }

    /// Who may still add an id before this one, if that was visible when the locks were looked at last.
    private func knownHolders(before id: EventID) -> Set<TableWriter>? {
        id <= newest ? Set(floors.lazy.filter { $0.value < id }.map(\.key)) : nil
    }

    /// The locks were looked at.
    ///
    /// - Parameters:
    ///   - present: who holds the lock.
    ///   - newest: the newest id that was visible *before* that; at least the last row reported.
    /// - Returns: whether rows are worth reading again now: the gap can be crossed, or someone who may have filled it has
    ///   ended, perhaps before this first look at it.
    package mutating func holders(_ present: Set<TableWriter>, newest: EventID) -> Bool {
        // PREPARE TRANSACTION may hand the lock on under a new name: the newcomer may be any of those that vanished.
        let vanished = floors.filter { !present.contains($0.key) && !$0.key.isPrepared }.values.min()
        var floors: [TableWriter: EventID] = [:]
        for holder in present {
            floors[holder] =
                self.floors[holder] ?? (holder.mayBeRenamed ? min(self.newest, vanished ?? self.newest) : self.newest)
        }
        self.floors = floors
        self.newest = max(self.newest, newest)
        passable = max(passable, floors.values.min() ?? self.newest)
        guard let gap else { return false }
        let remaining = knownHolders(before: gap.before) ?? present
        self.gap?.holders = remaining
        // Whoever had the gap may have ended between the read that showed it and the first look.
        return remaining.isEmpty || gap.holders.map { !$0.isSubset(of: remaining) } ?? true
    }
}
