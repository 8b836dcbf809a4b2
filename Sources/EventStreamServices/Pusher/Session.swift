import DequeModule
import EventLoop
import EventStream

/// A receiver being served: its lease, and where its deliveries stand.
final class Session {
    enum Kind {
        case reliable(ConsumerDelivery, epoch: Int64)
        case live(LiveDelivery)
    }

    let consumer: ConsumerIdentity
    fileprivate(set) var peer: Peer
    let want: EventFilter
    let precise: Bool
    /// It brings what comes after this event.
    let start: EventID
    /// Up to here earlier generations of the stream had the same events for it.
    let common: EventID
    var lease: Lease
    var kind: Kind
    /// History read for this session alone, while it is behind the shared window.
    var feed = ConsumerFeed()
    /// What the last group needed that found no room; less is not worth reading again.
    var neededRoom = 0
    /// Of a live one: events past its start that had been committed when it was asked for; they do not come.
    var known = EventIDSet()
    /// Groups whose events are being read again.
    var rereading: Set<UInt64> = []
    var isOver = false
    /// Its connection closed, and the consumer was offered to every pusher; it may be taken back.
    var isReleased = false
    var isResuming = false
    /// Calls of the peer that wait to see whether it can be taken back.
    var afterResuming: [() -> Void] = []
    /// Since when the first event of each group in flight could be delivered, by the group's number.
    private var waiting: Deque<(sequence: UInt64, since: EventTimestamp)> = []

    init(
        consumer: ConsumerIdentity, peer: Peer, want: EventFilter, precise: Bool, start: EventID, common: EventID, lease: Lease,
        kind: Kind
    ) {
        self.consumer = consumer
        self.peer = peer
        self.want = want
        self.precise = precise
        self.start = start
        self.common = common
        self.lease = lease
        self.kind = kind
    }

    var isLive: Bool { consumer.component.isLive }

    func took(_ sequence: UInt64, waitingSince time: EventTimestamp) { waiting.append((sequence, time)) }

    /// Since when the first events could be delivered of the groups that are not in flight any more.
    func confirmed(before sequence: UInt64) -> [EventTimestamp] {
        var times: [EventTimestamp] = []
        while let first = waiting.first, first.sequence < sequence {
            times.append(first.since)
            waiting.removeFirst()
        }
        return times
    }

    /// When something is to be sent, or sent again; nil while its peer is away.
    var nextDeadline: MonotonicTime? {
        switch kind {
        case .reliable(let delivery, _): isReleased || lease.isDisconnected ? nil : delivery.nextDeadline
        case .live(let delivery): delivery.nextDeadline
        }
    }

    /// Nothing waits for an answer.
    var isIdle: Bool {
        if case .reliable(let delivery, _) = kind { return delivery.inFlight.isEmpty }
        return true
    }
}

/// The sessions of one pusher, by peer and by consumer.
struct SessionTable {
    private var everyone: [ObjectIdentifier: Session] = [:]
    private var byPeer: [[UInt8]: [ConsumerComponent: Session]] = [:]
    private var reliable: [ConsumerIdentity: Session] = [:]
    private var counts: [Account: Int] = [:]

    var all: some Collection<Session> { everyone.values }
    var isEmpty: Bool { everyone.isEmpty }
    func count(of account: Account) -> Int { counts[account] ?? 0 }

    /// The peer's own; another user's under the same routing id is none of it.
    func session(of peer: Peer, _ component: ConsumerComponent) -> Session? {
        guard let session = byPeer[peer.identity]?[component], session.peer.caller.isSameUser(as: peer.caller) else { return nil }
        return session
    }

    func sessions(of identity: [UInt8]) -> [Session] { byPeer[identity].map { Array($0.values) } ?? [] }

    func reliable(_ consumer: ConsumerIdentity) -> Session? { reliable[consumer] }

    mutating func insert(_ session: Session) {
        let (identity, component) = (session.peer.identity, session.consumer.component)
        if let before = byPeer[identity]?[component] { remove(before) }
        byPeer[identity, default: [:]][component] = session
        everyone[ObjectIdentifier(session)] = session
        count(session.peer.account, 1)
        if !session.isLive { reliable[session.consumer] = session }
    }

    /// The same peer, perhaps over a new connection.
    mutating func heard(_ session: Session, from peer: Peer) {
        guard session.peer.caller !== peer.caller else { return }
        count(session.peer.account, -1)
        session.peer = Peer(identity: peer.identity, hasDelimiter: session.peer.hasDelimiter, caller: peer.caller)
        count(session.peer.account, 1)
    }

    private mutating func count(_ account: Account, _ change: Int) {
        let count = counts[account, default: 0] + change
        counts[account] = count > 0 ? count : nil
    }

    mutating func remove(_ session: Session) {
        session.isOver = true
        guard everyone.removeValue(forKey: ObjectIdentifier(session)) != nil else { return }
        let (identity, component) = (session.peer.identity, session.consumer.component)
        if byPeer[identity]?[component] === session { byPeer[identity]?[component] = nil }
        if byPeer[identity]?.isEmpty ?? false { byPeer[identity] = nil }
        if reliable[session.consumer] === session { reliable[session.consumer] = nil }
        count(session.peer.account, -1)
    }
}
