import DequeModule
package import EventStream
import EventStreamServer

/// A live session's deliveries: groups wait in a bounded queue; when the peer falls behind, the oldest are dropped.
///
/// The queue holds ranges of ids; the events themselves are in the pages all sessions share.
package struct LiveDelivery: Sendable {
    package struct Configuration: Hashable, Sendable {
        package var requestMax: Int
        /// Events waiting at most.
        package var queueMax: Int
        /// A missing answer frees its place in the window after this long; nothing is sent again.
        package var ackTimeout: Duration

        package init(
            requestMax: Int = Settings.all.requestMax.standard, queueMax: Int = Settings.all.queueMax.standard,
            ackTimeout: Duration = Settings.all.ackTimeout.standard
        ) {
            self.requestMax = requestMax
            self.queueMax = queueMax
            self.ackTimeout = ackTimeout
        }
    }

    /// Events in (after, through] that the consumer wants.
    package struct Group: Hashable, Sendable {
        package let sequence: UInt64
        package let after: EventID
        package fileprivate(set) var through: EventID
        package fileprivate(set) var count: Int
        package fileprivate(set) var bytes: Int
    }

    package let configuration: Configuration
    private var waiting: Deque<Group> = []
    private var waitingEvents = 0
    private var inFlight: [(rid: UInt64, sentAt: MonotonicTime)] = []
    private var nextSequence: UInt64 = 0
    private var end: EventID
    /// Events dropped so far.
    package private(set) var dropped = 0

    package init(after position: EventID, configuration: Configuration) {
        end = position
        self.configuration = configuration
    }

    package var eventsWaiting: Int { waitingEvents }

    /// How many events a group may have: few enough that dropping one loses no more than a tenth of the queue.
    package func groupLimit(_ limit: Int) -> Int { max(1, min(limit, configuration.queueMax / 10)) }

    /// New events arrived, `count` of them wanted, all within (present end, through].
    ///
    /// - Parameters:
    ///   - bytes: what the wanted ones weigh as an EventList.
    ///   - limits: what a group may hold; one that waits is filled up to this.
    /// - Returns: how many events were dropped to make room.
    package mutating func arrived(through id: EventID, count: Int, bytes: Int, limits: GroupLimits) -> Int {
        guard id > end else { return 0 }
        defer { end = id }
        guard count > 0 else {
            if !waiting.isEmpty { waiting[waiting.count - 1].through = id }
            return 0
        }
        if let last = waiting.last, last.count + count <= groupLimit(limits.events), last.bytes + bytes <= limits.bytes {
            waiting[waiting.count - 1].bytes += bytes
            waiting[waiting.count - 1].count += count
            waiting[waiting.count - 1].through = id
        } else {
            waiting.append(Group(sequence: nextSequence, after: end, through: id, count: count, bytes: bytes))
            nextSequence += 1
        }
        waitingEvents += count
        var droppedNow = 0
        while waitingEvents > configuration.queueMax, !waiting.isEmpty { droppedNow += dropOldest() }
        return droppedNow
    }

    private mutating func dropOldest() -> Int {
        let group = waiting.removeFirst()
        waitingEvents -= group.count
        dropped += group.count
        return group.count
    }

    /// What the next group that waits weighs; nil if none does.
    package var nextBytes: Int? { waiting.first?.bytes }

    /// The next group to send, if the window has room; `rid` is taken as its number.
    package mutating func next(rid: UInt64, at now: MonotonicTime) -> Group? {
        inFlight.removeAll { $0.sentAt + configuration.ackTimeout <= now }
        guard inFlight.count < configuration.requestMax, let group = waiting.popFirst() else { return nil }
        waitingEvents -= group.count
        inFlight.append((rid, now))
        return group
    }

    /// The group's events are no longer at hand, or the peer's queue is full: it counts as dropped.
    package mutating func lost(_ group: Group, rid: UInt64) {
        inFlight.removeAll { $0.rid == rid }
        dropped += group.count
    }

    /// An answer, of whatever kind. False if no group has this number.
    package mutating func answered(_ rid: UInt64) -> Bool {
        guard let index = inFlight.firstIndex(where: { $0.rid == rid }) else { return false }
        inFlight.remove(at: index)
        return true
    }

    /// When the oldest missing answer frees its place, if something waits for that.
    package var nextDeadline: MonotonicTime? {
        guard !waiting.isEmpty else { return nil }
        return inFlight.map(\.sentAt).min().map { $0 + configuration.ackTimeout }
    }
}
