import DequeModule
import EventStream
import EventStreamServer

/// A reliable session's life: its lease, whether it has the consumer, and its deliveries (protocol, section 5).
///
///     claimed
///        │
///        ▼       disconnected            heard
///     serving ─────────────▶ released ──────────▶ resuming ◀──┐
///        ▲                      ▲                   │  │  │   │ released since, and heard
///        │                      └── not known ──────┘  │  └───┘
///        └────────────────────────── ours ─────────────┘
///
///     another's, ended: from everywhere to over
///
/// Each method tells what happened, and returns what is to be done about it. Claims are before a session's life: who asks for a
/// consumer's session waits in a ``ClaimQueue``.
struct SessionMachine {
    enum State: Hashable {
        /// It has the consumer, and its peer is there.
        case serving
        /// The connection closed: the session waits for its peer, but any pusher may have the consumer.
        case released
        /// The peer was heard again; the database says whether the consumer may be taken back.
        ///
        /// - Parameter isReleasedSince: the connection has closed again, and the consumer was offered again, after the database was asked.
        case resuming(isReleasedSince: Bool)
        case over
    }

    /// What follows from what an operator says of the consumer's delivery.
    enum Kept: Hashable {
        case asBefore
        /// Something may be due.
        case mayGoOn
        /// The session is to be ended.
        case beginsAnew
    }

    /// What became of the attempt to take the consumer back.
    enum Resumed: Hashable {
        case serving
        /// It was released since: the database is to be asked again.
        case askAgain
        /// The peer is gone, or the answer is not known: the next message tries again.
        case waiting
        /// Another session has the consumer.
        case lost
    }

    /// What an answer changed.
    enum Answered: Hashable {
        /// The position may move to here.
        ///
        /// - Parameters:
        ///   - events: so many are not in flight any more.
        ///   - since: since when the first events of their groups could be delivered.
        case confirmed(EventID, events: Int, since: [EventTimestamp])
        /// What is left of the group is to be sent again after the pause; the position may move to here.
        ///
        /// - Parameter events: so many were processed.
        case retry(ConsumerDelivery.Group, after: Duration, EventID, events: Int, Attempts.Verdict)
        /// Of a parked event that was delivered again; the error if it failed once more. The position may move to here.
        case parked(EventID, error: String?, EventID)
        /// Answered out of order; the position waits for the groups before.
        case waiting
        /// No group in flight has this number.
        case unknown
    }

    /// What comes next for the receiver.
    enum Next {
        /// Put this on its way, if the peer has room: ``took(_:waitingSince:at:)`` or ``foundNoRoom(for:)``.
        case group(EventGroup)
        /// Nothing wanted comes up to here.
        case passed(EventID)
        /// Set these aside before anything else is sent: an event of the same key is parked.
        case follow([Event])
        /// What comes next is not in the window: ``nextRead(in:)``.
        case catchUp
        case nothing
    }

    /// The fencing token of this session.
    var epoch: Int64
    private let want: EventFilter
    private let fields: EventFields
    /// Only events of this slice; nil for all.
    private let slice: EventSlice?
    /// Whether groups may be answered in part.
    let isPartial: Bool
    private let limits: GroupLimits
    private(set) var state = State.serving
    /// An operator has stopped its delivery: nothing is sent, and what is answered counts.
    private(set) var isPaused: Bool
    /// Nothing beyond it is sent; nil for no barrier.
    private(set) var barrier: EventID?
    private(set) var lease: Lease
    var delivery: ConsumerDelivery
    var attempts: Attempts
    var followers: Followers
    /// An event is being set aside: nothing is sent, and no answer counts.
    var isParking = false
    /// What follows parked events of the same keys is being set aside: nothing new is sent.
    var isFollowing = false
    /// The next place is kept for a parked event, which must not wait until a backlog is over.
    var awaitsParked = false
    /// Up to here events come one by one, until the one that fails is known.
    var isolated = EventID.none
    /// Older events read for this session alone, while it is behind the shared window.
    private var feed = ConsumerFeed()
    /// What the last group needed that found no room; less is not worth reading again.
    private var neededRoom = 0
    /// Groups whose events are being read again.
    private var rereading: Set<UInt64> = []
    /// Since when the first event of each group in flight could be delivered, by the group's number.
    private var waiting: Deque<(sequence: UInt64, since: EventTimestamp)> = []

    init(
        epoch: Int64, want: EventFilter, fields: EventFields, slice: EventSlice? = nil, isPartial: Bool = false,
        limits: GroupLimits, lease: Lease,
        delivery: ConsumerDelivery, attempts: Attempts = .init(limit: 0), blockedKeys: [String]? = nil, isPaused: Bool = false,
        barrier: EventID? = nil
    ) {
        self.epoch = epoch
        self.isPaused = isPaused
        self.barrier = barrier
        self.want = want
        self.fields = fields
        self.slice = slice
        self.isPartial = isPartial
        self.limits = limits
        self.lease = lease
        self.delivery = delivery
        self.attempts = attempts
        followers = Followers(keys: blockedKeys)
    }

    var isOver: Bool { state == .over }
    /// Whether any pusher may have its consumer.
    var isReleased: Bool { state != .serving }
    /// Everything up to here is answered, parked or unwanted.
    var position: EventID { delivery.confirmed }
    /// Nothing is to be waited for: no group is in flight, or nobody is there to answer.
    var isIdle: Bool { delivery.inFlight.isEmpty || lease.isDisconnected }
    /// When something is to be sent, or sent again; nil while its peer is away.
    var nextDeadline: MonotonicTime? { maySend ? delivery.nextDeadline : nil }
    var maySend: Bool { state == .serving && !isPaused && !isParking }

    // MARK: The life cycle

    /// A message came from its peer.
    ///
    /// - Returns: whether the consumer must be taken back first: ``resumed(_:)``.
    mutating func heard(at now: MonotonicTime) -> Bool {
        lease.heard(at: now)
        switch state {
        case .serving, .resuming, .over: return false
        case .released:
            state = .resuming(isReleasedSince: false)
            return true
        }
    }

    /// The connection of its peer closed.
    ///
    /// - Returns: the position with which the consumer is to be offered to every pusher.
    mutating func disconnected(at now: MonotonicTime) -> EventID? {
        guard !isOver else { return nil }
        countClose()
        lease.disconnected()
        delivery.connectionLost(at: now)
        feed.clear()
        if case .resuming = state { state = .resuming(isReleasedSince: true) } else { state = .released }
        return position
    }

    /// The database was asked whether the consumer may be taken back.
    ///
    /// - Parameter isOurs: nil if the answer is not known.
    mutating func resumed(_ isOurs: Bool?) -> Resumed {
        guard case .resuming(let isReleasedSince) = state else { return .waiting }
        if isOurs == false {
            state = .over
            return .lost
        }
        if isReleasedSince, !lease.isDisconnected {
            state = .resuming(isReleasedSince: false)
            return .askAgain
        }
        state = isOurs == true && !isReleasedSince ? .serving : .released
        return state == .serving ? .serving : .waiting
    }

    /// An operator stops the delivery, sets a barrier, or lets the delivery go on.
    mutating func kept(isPaused: Bool, barrier: EventID?) -> Kept {
        // Nobody knows whether what has been sent lies beyond the barrier: that ends with the session.
        guard barrier == nil || self.barrier != nil else { return .beginsAnew }
        defer { (self.isPaused, self.barrier) = (isPaused, barrier) }
        return self.isPaused && !isPaused || barrier != self.barrier ? .mayGoOn : .asBefore
    }

    /// Nothing beyond this is sent.
    private var end: EventID { barrier ?? EventID(.max) }

    /// It is over, for whatever reason.
    ///
    /// - Returns: the position with which the consumer is to be given up; nil if the session was over before.
    mutating func ended() -> EventID? {
        guard !isOver else { return nil }
        state = .over
        return position
    }

    // MARK: What comes next

    mutating func next(in window: EventWindow) -> Next {
        while maySend, hasRoom {
            let cursor = delivery.cursor
            let group: EventGroup
            if let page = feed.page(after: cursor) {
                group = cut([page], after: cursor, through: end, limits: limits)
            } else if window.covers(after: cursor) {
                group = cut(window.pages(after: cursor), after: cursor, through: end, limits: limits)
            } else {
                return .catchUp
            }
            if let group = group.last.map({ _ in suspects(group) }) {
                let followers = followers.due(in: group)
                return followers.isEmpty ? .group(group) : .follow(followers)
            }
            guard group.through > cursor else { return .nothing }
            let followers = followers.due(in: group)
            guard followers.isEmpty else { return .follow(followers) }
            if let position = delivery.passedOver(through: group.through) { return .passed(position) }
        }
        return maySend ? .catchUp : .nothing
    }

    /// While events come one by one, one is in flight.
    private var hasRoom: Bool {
        delivery.canTakeGroup && !awaitsParked && !isFollowing && delivery.cursor < end
            && (delivery.cursor >= isolated || delivery.inFlight.isEmpty)
    }

    /// The group, or only the first event of it if that may be the one that fails.
    private func suspects(_ group: EventGroup) -> EventGroup {
        guard group.count > 1, delivery.cursor < isolated || attempts.isSuspect(group.first) else { return group }
        return group.firstOnly
    }

    private func cut(
        _ pages: some Sequence<EventPage>, after: EventID, through end: EventID, limits: GroupLimits
    ) -> EventGroup {
        EventGroup(
            from: pages, after: after, through: end, want: want, in: slice, besides: followers.done, without: followers.keys,
            fields: fields,
            limits: limits)
    }

    /// The group finds no room at the peer. It is read again when there is: what waits must not also fill the memory here.
    mutating func foundNoRoom(for group: EventGroup) {
        feed.clear()
        neededRoom = group.bytes
    }

    /// The group is on its way.
    mutating func took(_ group: EventGroup, waitingSince time: EventTimestamp?, at now: MonotonicTime) -> ConsumerDelivery.Group {
        neededRoom = 0
        let (first, last) = (group.first ?? delivery.cursor, group.last ?? delivery.cursor)
        let taken = delivery.took(
            (first, last, group.count), ids: isPartial ? group.ids : [], leftOut: group.passedCount, through: group.through,
            at: now)
        if let time { waiting.append((taken.sequence, time)) }
        return taken
    }

    // MARK: Catching up

    /// The read of older events to begin now, if any, and the bytes of room it needs at the peer.
    func nextRead(in window: EventWindow) -> (read: ConsumerFeed.Read, room: Int)? {
        guard maySend, delivery.cursor < end,
            let read = feed.nextRead(after: delivery.cursor, window: window, room: delivery.room)
        else { return nil }
        return (read, max(neededRoom, limits.bytes))
    }

    mutating func readBegan(_ read: ConsumerFeed.Read) { feed.began(read) }
    mutating func readReturned(_ read: ConsumerFeed.Read, through: EventID) { feed.returned(read, through: through) }
    mutating func readFailed(_ read: ConsumerFeed.Read) { feed.failed(read) }
    /// What was read before may have data that was erased since: it is read again.
    mutating func forgetPages() { feed.clear() }
    mutating func add(_ page: EventPage) { feed.add(page) }

    // MARK: Sending

    mutating func sent(_ sequence: UInt64, rid: UInt64, at now: MonotonicTime) { delivery.sent(sequence, rid: rid, at: now) }
    mutating func postponed(_ sequence: UInt64, until time: MonotonicTime) { delivery.postponed(sequence, until: time) }

    /// The groups to send again now, or for the first time; their events are read again.
    func due(at now: MonotonicTime) -> [ConsumerDelivery.Group] {
        guard maySend else { return [] }
        return delivery.due(at: now).filter { !rereading.contains($0.sequence) }
    }

    /// Bytes the next group needs at the peer, as far as is known.
    var roomToAskFor: Int { neededRoom }

    mutating func rereadBegan(_ group: ConsumerDelivery.Group) { rereading.insert(group.sequence) }

    /// The group's events are there again.
    ///
    /// - Returns: them, if the group still waits to be sent.
    mutating func reread(
        _ group: ConsumerDelivery.Group, in pages: some Sequence<EventPage>, at now: MonotonicTime
    ) -> EventGroup? {
        rereading.remove(group.sequence)
        // What is left of it by now.
        guard
            let group = due(at: now).first(where: {
                $0.sequence == group.sequence && $0.after >= group.after && $0.last == group.last
            })
        else { return nil }
        neededRoom = 0
        let events = cut(
            pages, after: group.after, through: group.last, limits: .init(events: group.count + group.leftOut, bytes: .max))
        // Its answer moves the position over all of it: what does not reach its end is not sent.
        return events.last == group.last ? events : nil
    }

    mutating func rereadFailed(_ group: ConsumerDelivery.Group) { rereading.remove(group.sequence) }

    /// The group that was read again finds no room.
    mutating func rereadFoundNoRoom(for bytes: Int) { neededRoom = bytes }

    // MARK: Answers

    mutating func answered(_ rid: UInt64, _ answer: GroupAnswer, at now: MonotonicTime) -> Answered {
        guard !isOver else { return .unknown }
        guard !isParking else { return .waiting }
        if let parked = delivery.parked(rid) { return answered(rid, answer, of: parked, at: now) }
        let before = delivery.eventsInFlight
        switch delivery.answered(rid, answer, at: now) {
        case .confirmed(let position):
            return .confirmed(position, events: before - delivery.eventsInFlight, since: waitedFor())
        case .retry(let group, let pause, let isNamed):
            let (position, events) = (delivery.confirmed, before - delivery.eventsInFlight)
            let verdict = failed(group, isAlone: isNamed || group.count == 1, answer.error ?? "")
            return .retry(group, after: pause, position, events: events, verdict)
        case .waiting: return .waiting
        case .unknown: return .unknown
        }
    }

    /// Since when the first events could be delivered of the groups that are not in flight any more.
    private mutating func waitedFor() -> [EventTimestamp] {
        var times: [EventTimestamp] = []
        while let first = waiting.first, first.sequence < delivery.firstInFlight {
            times.append(first.since)
            waiting.removeFirst()
        }
        return times
    }

    /// Numbers start at 0 again, and what is in flight is void.
    mutating func beginAnew(after position: EventID) {
        delivery = ConsumerDelivery(after: position, configuration: delivery.configuration)
        feed.clear()
        neededRoom = 0
        rereading = []
        waiting = []
    }
}
