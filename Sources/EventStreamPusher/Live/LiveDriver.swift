import EventStream
import EventStreamServer
import LibZMQ

/// Live sessions: how they begin, and what they are sent (protocol, section 5).
final class LiveDriver {
    struct Configuration {
        var timeout: Duration
        var groupLimits: GroupLimits
        var delivery: LiveDelivery.Configuration
    }

    private let configuration: Configuration
    private let loop: any LoopPort
    private let stream: SharedStream
    private let present: StreamPresent
    private let table: SessionTable
    private let outbox: Outbox
    private let sessions: SessionDriver
    private let claims: ClaimDriver
    private let turns: CallTurns
    private let ticker: SessionTicker
    private let metrics: PusherMetrics
    var isStopping = false

    init(
        _ configuration: Configuration, loop: any LoopPort, stream: SharedStream, present: StreamPresent, table: SessionTable,
        outbox: Outbox, sessions: SessionDriver, claims: ClaimDriver, turns: CallTurns, ticker: SessionTicker,
        metrics: PusherMetrics
    ) {
        (self.configuration, self.loop, self.stream, self.present) = (configuration, loop, stream, present)
        (self.table, self.outbox, self.sessions, self.claims) = (table, outbox, sessions, claims)
        (self.turns, self.ticker, self.metrics) = (turns, ticker, metrics)
    }

    // MARK: Beginning

    func start(_ start: SessionStart) {
        guard outbox.peers.isCurrent(start.peer.caller), outbox.peers.isConnected(start.peer) else {
            return turns.ended(start.peer)
        }
        // What was committed before the call must not come: find out first what that is.
        present.find { self.started(start, $0) }
    }

    private func started(_ start: SessionStart, _ result: Result<(after: EventID, known: EventIDSet), EventStreamError>) {
        turns.ended(start.peer)
        switch result {
        case .failure(let error): claims.refuse(start, error)
        case .success(let (position, known)):
            if let present = table.session(of: start.peer, start.component) { table.remove(present) }
            // Others of its calls were under way at the same time.
            guard table.count(of: start.peer.account) < claims.userLimit else {
                return claims.refuse(start, claims.tooManySessions(start.peer))
            }
            let session = LiveSession(
                start, after: position, besides: known, lease: Lease(timeout: configuration.timeout, at: loop.now),
                LiveDelivery(after: position, configuration: configuration.delivery))
            // So much has come meanwhile that it is not at hand any more: nobody could tell what the session has missed.
            guard let window = stream.window, window.covers(after: position) else {
                return claims.refuse(start, .internalError("the session could not start: the stream has moved on; call again"))
            }
            // Who does not hear of the session could not tell it from the one before.
            guard sessions.accept(start, after: position, common: position) == .sent else { return }
            table.insert(session)
            for page in window.pages(after: position) { arrived(page, after: max(position, page.after), for: session) }
            pump(session)
            ticker.keepTime()
        }
    }

    // MARK: Sending

    func arrived(_ page: EventPage) { for session in table.live { arrived(page, after: page.after, for: session) } }

    private func arrived(_ page: EventPage, after start: EventID, for session: LiveSession) {
        var limits = configuration.groupLimits
        limits.events = session.delivery.groupLimit(limits.events)
        var after = start
        while after < page.through {
            let extent = EventGroup(
                from: [page], after: after, want: session.want, besides: session.known, fields: session.fields, limits: limits)
            metrics.liveDropped.add(
                session.delivery.arrived(through: extent.through, count: extent.count, bytes: extent.bytes, limits: limits))
            after = extent.through
        }
    }

    func pumpAll() { for session in table.live { pump(session) } }

    func pump(_ session: LiveSession) {
        guard !isStopping, let window = stream.window else { return }
        while !session.isOver, let bytes = session.delivery.nextBytes {
            guard outbox.hasRoom(for: bytes, to: session) else { return ticker.keepTime(within: .milliseconds(20)) }
            let (rid, dropped) = (outbox.nextRid(), session.delivery.dropped)
            guard let group = session.delivery.next(rid: rid, at: loop.now) else { return }
            if let message = message(group, rid, window, for: session), outbox.peers.send(session.peer, message) == .sent {
                continue
            }
            // The peer takes no more, or the events are no longer at hand.
            session.delivery.lost(group, rid: rid)
            if !session.isOver { metrics.liveDropped.add(session.delivery.dropped - dropped) }
        }
    }

    private func message(_ group: LiveDelivery.Group, _ rid: UInt64, _ window: EventWindow, for session: LiveSession) -> [UInt8]?
    {
        guard window.covers(after: group.after) else { return nil }
        let events = EventGroup(
            from: window.pages(after: group.after), after: group.after, through: group.through, want: session.want,
            besides: session.known, fields: session.fields, limits: .largest)
        guard events.count > 0 else { return nil }
        return OnEvents.encoded(sequence: group.sequence, group: events, rid: .server(rid))
    }

    // MARK: Living

    /// - Returns: whether a group in flight has this number.
    func answered(_ session: LiveSession, _ rid: UInt64) -> Bool {
        guard session.delivery.answered(rid) else { return false }
        pump(session)
        return true
    }

    func tick(at now: MonotonicTime) {
        for session in table.live {
            if session.lease.hasEnded(at: now) {
                sessions.end(session, because: "nothing was heard from its receiver")
            } else {
                pump(session)
            }
        }
    }
}

extension EventStreamError {
    static var unavailable: EventStreamError { .internalError("the database cannot be reached") }
}
