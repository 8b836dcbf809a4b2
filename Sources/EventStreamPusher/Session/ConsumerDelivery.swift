package import DequeModule
package import EventStream
import EventStreamServer

/// One session's deliveries: sequence numbers, the window of groups in flight, answers, resends, and the position.
///
/// A pure machine. The driver tells what happened and does what it is told; it keeps no groups: one that must be sent
/// again is read again by its range of ids, which gives the same events, from the archive if they are discarded by now.
package struct ConsumerDelivery: Sendable {
    package struct Configuration: Hashable, Sendable {
        /// Groups in flight at most; at least 1.
        package var requestMax: Int
        /// How long an answer may take before the group is sent again.
        package var ackTimeout: Duration
        /// The pause after a first error answer; it doubles with each further one.
        package var errorPause: Duration
        package var longestErrorPause: Duration

        package init(
            requestMax: Int = Settings.all.requestMax.standard, ackTimeout: Duration = Settings.all.ackTimeout.standard,
            errorPause: Duration = .milliseconds(100), longestErrorPause: Duration = .seconds(5)
        ) {
            self.requestMax = requestMax
            self.ackTimeout = ackTimeout
            self.errorPause = errorPause
            self.longestErrorPause = longestErrorPause
        }
    }

    /// A group in flight: its number, and the range of ids it stands for.
    package struct Group: Hashable, Sendable {
        package let sequence: UInt64
        /// The group's events, as far as they are not processed, have ids in (after, last].
        package fileprivate(set) var after: EventID
        /// The first of them.
        package fileprivate(set) var first: EventID
        package let last: EventID
        package fileprivate(set) var count: Int
        /// So many wanted events at most are between these and not of the group.
        package let leftOut: Int
        /// The ids of these events; empty where a group is answered as a whole.
        fileprivate var ids: ArraySlice<EventID>
        /// Whether it is a parked event that is delivered again: the position has passed it.
        package let isParked: Bool
        /// Where the position goes once this group and all before it are answered: over unwanted events, too.
        package fileprivate(set) var through: EventID
        /// Sends so far.
        package fileprivate(set) var attempts = 0
        fileprivate var state: State
        /// Every number it was sent under: a late answer to an earlier one counts as well.
        fileprivate var rids: [UInt64] = []
        /// Those of them that were answered with an error.
        fileprivate var failed: [UInt64] = []
        /// Whether it was sent and is not answered.
        package var isSent: Bool { if case .sent = state { true } else { false } }

        fileprivate enum State: Hashable, Sendable {
            /// To be sent, or sent again, at this time.
            case due(MonotonicTime)
            case sent(MonotonicTime)
            case answered
        }
    }

    /// What an answer changed.
    package enum Outcome: Hashable, Sendable {
        /// The position may move to here.
        case confirmed(EventID)
        /// Answered out of order; the position waits for the groups before.
        case waiting
        /// What is left of the group is to be sent again after the pause; the position may move to ``confirmed``.
        ///
        /// - Parameter isNamed: whether the receiver has named the first event of it as the one that failed.
        case retry(Group, after: Duration, isNamed: Bool)
        /// No group in flight has this number: late, repeated or invented.
        case unknown
    }

    package let configuration: Configuration
    /// The last id given to a group, or passed over as unwanted.
    package private(set) var cursor: EventID
    /// Everything up to here is answered or unwanted.
    package private(set) var confirmed: EventID
    package private(set) var nextSequence: UInt64 = 0
    package private(set) var inFlight: Deque<Group> = []

    package init(after position: EventID, configuration: Configuration) {
        cursor = position
        confirmed = position
        self.configuration = configuration
    }

    /// Groups answered out of order are not in flight any more, but only so many may wait for the ones before them.
    package var canTakeGroup: Bool { room > 0 }
    /// How many more groups may be put in flight.
    package var room: Int {
        // One that has not gone out yet must not be overtaken: a receiver that was not told of the session could not tell.
        if let last = inFlight.last, last.attempts == 0 { return 0 }
        let unanswered = inFlight.reduce(0) { $0 + ($1.state == .answered ? 0 : 1) }
        return max(0, min(configuration.requestMax - unanswered, configuration.requestMax * 16 - inFlight.count))
    }
    /// The number of the first group that is in flight; of the next one if none is.
    package var firstInFlight: UInt64 { inFlight.first?.sequence ?? nextSequence }
    package var eventsInFlight: Int { inFlight.reduce(0) { $0 + $1.count } }

    /// A group was put together out of what comes after ``cursor``.
    ///
    /// - Returns: it, due at once.
    ///
    /// - Parameters:
    ///   - events: the first event, the last one, and how many there are.
    ///   - ids: of these events, where it may be answered in part.
    ///   - leftOut: so many events were left out of it.
    ///   - through: up to here nothing else is wanted.
    package mutating func took(
        _ events: (first: EventID, last: EventID, count: Int), ids: [EventID] = [], leftOut: Int = 0, through: EventID,
        at now: MonotonicTime
    ) -> Group {
        let group = Group(
            sequence: nextSequence, after: cursor, first: events.first, last: events.last, count: events.count, leftOut: leftOut,
            ids: ids[...], isParked: false, through: through, state: .due(now))
        cursor = through
        append(group)
        return group
    }

    /// A parked event is to be delivered again.
    ///
    /// - Returns: its group, due at once.
    package mutating func tookParked(_ id: EventID, at now: MonotonicTime) -> Group {
        let group = Group(
            sequence: nextSequence, after: cursor, first: id, last: id, count: 1, leftOut: 0, ids: [], isParked: true,
            through: cursor, state: .due(now))
        append(group)
        return group
    }

    private mutating func append(_ group: Group) {
        nextSequence += 1
        inFlight.append(group)
    }

    /// Nothing wanted comes before or at this id.
    ///
    /// - Returns: the position to store, if it moves at once; else it moves with the answers in flight.
    package mutating func passedOver(through id: EventID) -> EventID? {
        guard id > cursor else { return nil }
        cursor = id
        guard !inFlight.isEmpty else {
            confirmed = id
            return id
        }
        inFlight[inFlight.count - 1].through = id
        return nil
    }

    /// The group went out under this number.
    package mutating func sent(_ sequence: UInt64, rid: UInt64, at now: MonotonicTime) {
        guard let index = index(of: sequence), inFlight[index].state != .answered else { return }
        inFlight[index].state = .sent(now)
        inFlight[index].attempts += 1
        inFlight[index].rids = inFlight[index].rids.suffix(7) + [rid]
    }

    /// The group could not be sent now: the peer's queue is full, or the events could not be read.
    package mutating func postponed(_ sequence: UInt64, until time: MonotonicTime) {
        guard let index = index(of: sequence), inFlight[index].state != .answered else { return }
        inFlight[index].state = .due(time)
    }

    /// The peer's connection closed: what was sent and not answered may not have arrived.
    package mutating func connectionLost(at now: MonotonicTime) {
        for index in inFlight.indices {
            if case .sent = inFlight[index].state { inFlight[index].state = .due(now) }
        }
    }

    /// The receiver answered the call with this number.
    package mutating func answered(_ rid: UInt64, _ answer: GroupAnswer, at now: MonotonicTime) -> Outcome {
        guard let index = inFlight.firstIndex(where: { $0.rids.contains(rid) }) else { return .unknown }
        guard answer != .processed else {
            // This send has failed, whatever is said of it later.
            guard !inFlight[index].failed.contains(rid) else { return .waiting }
            inFlight[index].state = .answered
            return index == 0 ? .confirmed(moveOn()) : .waiting
        }
        // An error to an earlier send says nothing about the present one.
        guard inFlight[index].isSent, inFlight[index].rids.last == rid else { return .waiting }
        inFlight[index].failed = inFlight[index].failed.suffix(7) + [rid]
        var isNamed = false
        if case .partly(let through, let failed, _) = answer {
            isNamed = inFlight[index].processed(through: through, failed: failed)
            if index == 0 { confirmed = inFlight[0].after }
        }
        let doublings = min(inFlight[index].attempts - 1, 16)
        let pause = min(configuration.errorPause * (1 << doublings), configuration.longestErrorPause)
        inFlight[index].state = .due(now + pause)
        return .retry(inFlight[index], after: pause, isNamed: isNamed)
    }

    /// - Returns: the position, which has gone over what is answered.
    private mutating func moveOn() -> EventID {
        while let first = inFlight.first, first.state == .answered { inFlight.removeFirst() }
        confirmed = inFlight.first?.after ?? cursor
        return confirmed
    }

    /// The parked event that was sent, or is to be sent, and is not answered.
    package var parkedInFlight: Group? { inFlight.first { $0.isParked && $0.state != .answered } }

    /// Gives a parked event up whose answer is overdue: what follows must not wait for it.
    ///
    /// - Returns: it, if there is one.
    package mutating func overdueParked(at now: MonotonicTime) -> Group? {
        guard let group = parkedInFlight, case .sent(let time) = group.state, time + configuration.ackTimeout <= now,
            let index = index(of: group.sequence)
        else { return nil }
        inFlight[index].state = .answered
        _ = moveOn()
        return group
    }

    /// The first group in flight, if its answer is overdue; it is due now.
    package mutating func overdue(at now: MonotonicTime) -> Group? {
        guard let first = inFlight.first, case .sent(let time) = first.state, time + configuration.ackTimeout <= now else {
            return nil
        }
        inFlight[0].state = .due(now)
        return first
    }

    /// Whether this number is of the present send of a parked event: only then an error counts.
    package func parked(_ rid: UInt64) -> (group: Group, isPresent: Bool)? {
        guard let group = inFlight.first(where: { $0.isParked && $0.rids.contains(rid) }) else { return nil }
        return (group, group.isSent && group.rids.last == rid)
    }

    /// The groups to send now: new ones, those whose pause is over, and those whose answer is overdue.
    package func due(at now: MonotonicTime) -> [Group] {
        inFlight.filter { group in
            switch group.state {
            case .due(let time): time <= now
            case .sent(let time): time + configuration.ackTimeout <= now
            case .answered: false
            }
        }
    }

    /// When ``due(at:)`` is next worth asking.
    package var nextDeadline: MonotonicTime? {
        inFlight.compactMap { group in
            switch group.state {
            case .due(let time): time
            case .sent(let time): time + configuration.ackTimeout
            case .answered: nil
            }
        }.min()
    }

    private func index(of sequence: UInt64) -> Int? {
        guard let first = inFlight.first?.sequence, sequence >= first else { return nil }
        let index = Int(sequence - first)
        return index < inFlight.count ? index : nil
    }
}

extension ConsumerDelivery.Group {
    /// What was processed is not of the group any more.
    ///
    /// - Returns: false, and nothing has changed, where `failed` is not the event that follows `last`.
    fileprivate mutating func processed(through last: EventID?, failed: EventID) -> Bool {
        var index = ids.startIndex
        if let last {
            guard let found = ids.firstIndex(of: last) else { return false }
            index = found + 1
        }
        guard index < ids.endIndex, ids[index] == failed else { return false }
        count -= index - ids.startIndex
        if index > ids.startIndex {
            after = ids[index - 1]
            // Another event is first: what was tried before says nothing about this one.
            attempts = 1
        }
        ids = ids[index...]
        first = failed
        return true
    }
}
