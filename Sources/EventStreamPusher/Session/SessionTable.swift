import EventStream
import EventStreamServer

/// A receiver being served.
class Session {
    let consumer: ConsumerIdentity
    fileprivate(set) var peer: Peer
    let want: EventFilter
    let fields: EventFields
    let isPartial: Bool
    let mayPark: Bool
    /// It brings what comes after this event.
    let start: EventID
    /// Up to here earlier generations of the stream had the same events for it.
    let common: EventID
    /// Where it is in the table; nil if it is in none.
    fileprivate var index: Int?

    init(_ start: SessionStart, after position: EventID, common: EventID) {
        consumer = start.consumer
        peer = start.peer
        want = start.want
        fields = start.fields
        isPartial = start.isPartial
        mayPark = start.mayPark
        self.start = position
        self.common = common
    }

    /// Whether it has been taken out of the table.
    var isOver: Bool { index == nil }
}

final class ReliableSession: Session {
    /// Changed in place: what is called while it is being read may change it, too.
    var machine: SessionMachine
    /// Told with every group in sessions with partial processing: another one in each session of a peer.
    var number: Int64
    /// The parked event that is being delivered again, and the generation it was parked in.
    var retrying: EventGroup?
    var retryGeneration = ""
    var isFetchingParked = false
    /// What became of a parked event is being stored, or what follows parked ones; and what is to be stored then.
    var isStoringParked = false
    var storeNext: [() -> Void] = []
    /// Outcomes of parked events that are not stored yet.
    var unstoredOutcomes = 0
    /// Calls of the peer that wait to see whether the consumer can be taken back.
    var afterResuming: [() -> Void] = []

    init(_ start: SessionStart, number: Int64, after position: EventID, common: EventID, _ machine: SessionMachine) {
        self.machine = machine
        self.number = number
        super.init(start, after: position, common: common)
    }
}

final class LiveSession: Session {
    var lease: Lease
    var delivery: LiveDelivery
    /// Events past its start that had been committed when it was asked for; they do not come.
    let known: EventIDSet

    init(_ start: SessionStart, after position: EventID, besides known: EventIDSet, lease: Lease, _ delivery: LiveDelivery) {
        self.lease = lease
        self.delivery = delivery
        self.known = known
        super.init(start, after: position, common: position)
    }
}

/// A session somebody asks for: in one call, or in several of which the last counts.
struct SessionStart {
    struct Call {
        let rid: RequestID?
        let asksOrigin: Bool
    }

    let component: ConsumerComponent
    let want: EventFilter
    let fields: EventFields
    /// Whether groups may be answered in part.
    let isPartial: Bool
    /// Whether an event that fails again and again may be set aside.
    let mayPark: Bool
    let peer: Peer
    private(set) var calls: [Call]
    var consumer: ConsumerIdentity { ConsumerIdentity(user: peer.user, component: component) }

    init(
        _ component: ConsumerComponent, want: EventFilter, fields: EventFields, isPartial: Bool = false, mayPark: Bool = true,
        peer: Peer, rid: RequestID?, asksOrigin: Bool
    ) {
        self.component = component
        self.want = want
        self.fields = fields
        self.isPartial = isPartial
        self.mayPark = mayPark
        self.peer = peer
        calls = [Call(rid: rid, asksOrigin: asksOrigin)]
    }

    /// One that stands for both: a session that would have been replaced before it brought anything needs none.
    static func merge(_ earlier: SessionStart, _ later: SessionStart) -> SessionStart? {
        guard earlier.peer.caller === later.peer.caller, earlier.peer.identity == later.peer.identity,
            earlier.calls.count < ClaimQueue<ConsumerIdentity, SessionStart>.waitingLimit
        else { return nil }
        var start = later
        start.calls = earlier.calls + later.calls
        return start
    }
}

/// The sessions of one pusher, by peer and by consumer.
final class SessionTable {
    // In an order that depends on nothing but what happened.
    private(set) var reliable: [ReliableSession] = []
    private(set) var live: [LiveSession] = []
    private var byPeer: [[UInt8]: [Session]] = [:]
    private var byConsumer: [ConsumerIdentity: ReliableSession] = [:]
    private var counts: [Account: Int] = [:]
    private var lastNumber: Int64 = 0

    var count: Int { reliable.count + live.count }
    func count(of account: Account) -> Int { counts[account] ?? 0 }

    /// The peer's own; another user's under the same routing id is none of it.
    func session(of peer: Peer, _ component: ConsumerComponent) -> Session? {
        byPeer[peer.identity]?.first { $0.consumer.component == component && $0.peer.caller.isSameUser(as: peer.caller) }
    }

    /// A number that no session of the same peer has had, here or at another pusher.
    func nextNumber(at time: EventTimestamp) -> Int64 {
        lastNumber = max(lastNumber + 1, time.microseconds)
        return lastNumber
    }

    func sessions(of identity: [UInt8]) -> [Session] { byPeer[identity] ?? [] }

    func reliable(_ consumer: ConsumerIdentity) -> ReliableSession? { byConsumer[consumer] }

    func insert(_ session: ReliableSession) {
        enter(session, at: reliable.count)
        reliable.append(session)
        byConsumer[session.consumer] = session
    }

    func insert(_ session: LiveSession) {
        enter(session, at: live.count)
        live.append(session)
    }

    private func enter(_ session: Session, at index: Int) {
        session.index = index
        byPeer[session.peer.identity, default: []].append(session)
        count(session.peer.account, 1)
    }

    /// The same peer, perhaps over a new connection.
    func heard(_ session: Session, from peer: Peer) {
        guard session.peer.caller !== peer.caller else { return }
        count(session.peer.account, -1)
        session.peer = Peer(identity: peer.identity, hasDelimiter: session.peer.hasDelimiter, caller: peer.caller)
        count(session.peer.account, 1)
    }

    private func count(_ account: Account, _ change: Int) {
        let count = counts[account, default: 0] + change
        counts[account] = count > 0 ? count : nil
    }

    func remove(_ session: Session) {
        guard let index = session.index else { return }
        session.index = nil
        switch session {
        case let session as ReliableSession:
            _ = session.machine.ended()
            SessionTable.take(index, of: &reliable)
            if byConsumer[session.consumer] === session { byConsumer[session.consumer] = nil }
        default: SessionTable.take(index, of: &live)
        }
        let identity = session.peer.identity
        byPeer[identity]?.removeAll { $0 === session }
        if byPeer[identity]?.isEmpty ?? false { byPeer[identity] = nil }
        count(session.peer.account, -1)
    }

    /// The last one takes the place that is free.
    private static func take<S: Session>(_ index: Int, of sessions: inout [S]) {
        let last = sessions.removeLast()
        guard index < sessions.count else { return }
        sessions[index] = last
        last.index = index
    }

    func removeAll() { for session in reliable + live as [Session] { remove(session) } }
}
