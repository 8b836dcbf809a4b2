import EventLoop
import EventStream

/// A receiver being served: its lease, and where its deliveries stand.
final class Session {
    enum Kind {
        case reliable(ConsumerDelivery, epoch: Int64)
        case live(LiveDelivery)
    }

    let consumer: ConsumerIdentity
    let peer: Peer
    let want: EventFilter
    let precise: Bool
    var lease: Lease
    var kind: Kind
    /// History read for this session alone, while it is behind the shared window.
    var feed = ConsumerFeed()
    /// What the last group needed that found no room; less is not worth reading again.
    var neededRoom = 0
    /// Groups whose events are being read again.
    var rereading: Set<UInt64> = []
    var isOver = false
    /// Its connection closed, and the consumer was offered to every pusher; it may be taken back.
    var isReleased = false
    var isResuming = false
    /// Calls of the peer that wait to see whether it can be taken back.
    var afterResuming: [() -> Void] = []
    var failures = FailureLog()

    init(consumer: ConsumerIdentity, peer: Peer, want: EventFilter, precise: Bool, lease: Lease, kind: Kind) {
        self.consumer = consumer
        self.peer = peer
        self.want = want
        self.precise = precise
        self.lease = lease
        self.kind = kind
    }

    var isLive: Bool { consumer.component.isLive }

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

/// Keeps the log short while a receiver answers with errors.
struct FailureLog {
    private var lastReport: MonotonicTime?
    mutating func isDue(at now: MonotonicTime) -> Bool {
        if let lastReport, now - lastReport < .seconds(10) { return false }
        lastReport = now
        return true
    }
}

/// The sessions of one pusher, by peer and by consumer.
struct SessionTable {
    private struct Key: Hashable {
        let identity: [UInt8]
        let component: ConsumerComponent
    }

    private var sessions: [Key: Session] = [:]
    private var reliable: [ConsumerIdentity: Session] = [:]

    var all: some Collection<Session> { sessions.values }
    var isEmpty: Bool { sessions.isEmpty }
    var count: Int { sessions.count }

    func session(of identity: [UInt8], _ component: ConsumerComponent) -> Session? {
        sessions[Key(identity: identity, component: component)]
    }

    func sessions(of identity: [UInt8]) -> [Session] { sessions.filter { $0.key.identity == identity }.map(\.value) }

    func reliable(_ consumer: ConsumerIdentity) -> Session? { reliable[consumer] }

    mutating func insert(_ session: Session) {
        sessions[Key(identity: session.peer.identity, component: session.consumer.component)] = session
        if !session.isLive { reliable[session.consumer] = session }
    }

    mutating func remove(_ session: Session) {
        session.isOver = true
        let key = Key(identity: session.peer.identity, component: session.consumer.component)
        if sessions[key] === session { sessions[key] = nil }
        if reliable[session.consumer] === session { reliable[session.consumer] = nil }
    }
}
