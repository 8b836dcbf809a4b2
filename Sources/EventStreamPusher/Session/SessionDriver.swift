import EventStream
import EventStreamDatabase
import EventStreamServer
import LibZMQ
import Logging

/// Sessions: how they begin, live and end (protocol, section 5).
final class SessionDriver {
    struct Configuration {
        var timeout: Duration
        var delivery: ConsumerDelivery.Configuration
        var groupLimits: GroupLimits
        /// How often an event may fail before it is set aside; 0 for any number.
        var maxAttempts: Int
    }

    private let configuration: Configuration
    private let loop: any LoopPort
    private let head: HeadDriver
    private let table: SessionTable
    private let outbox: Outbox
    private let membership: Membership
    private let positions: PositionWriter
    private let deliveries: DeliveryDriver
    private let ticker: SessionTicker
    private var reports: SessionReports

    init(
        _ configuration: Configuration, loop: any LoopPort, head: HeadDriver, table: SessionTable, outbox: Outbox,
        membership: Membership, positions: PositionWriter, deliveries: DeliveryDriver, ticker: SessionTicker, logger: Logger
    ) {
        self.configuration = configuration
        self.loop = loop
        self.head = head
        self.table = table
        self.outbox = outbox
        self.membership = membership
        self.positions = positions
        self.deliveries = deliveries
        self.ticker = ticker
        reports = SessionReports(logger: logger)
    }

    // MARK: Beginning

    /// The consumer has been claimed.
    func begin(_ start: SessionStart, _ claimed: ConsumerStore.Claimed) {
        let (position, common) = (claimed.position, claimed.common)
        if let before = table.session(of: start.peer, start.component) { table.remove(before) }
        let session = ReliableSession(
            start, number: table.nextNumber(at: loop.wallClock), after: position, common: common,
            SessionMachine(
                epoch: claimed.epoch, want: start.want, fields: start.fields, slice: start.component.slice,
                isPartial: start.isPartial,
                limits: configuration.groupLimits, lease: Lease(timeout: configuration.timeout, at: loop.now),
                delivery: ConsumerDelivery(after: position, configuration: configuration.delivery),
                attempts: Attempts(
                    limit: start.mayPark ? claimed.maxAttempts ?? configuration.maxAttempts : 0, failing: claimed.failing),
                blockedKeys: claimed.blockedKeys, isPaused: claimed.isPaused, barrier: claimed.barrier))
        table.insert(session)
        // From now on its figures are there, if only zero.
        _ = deliveries.metrics(of: session.consumer)
        reports.started(session, at: loop.now)
        // The peer may be gone by now; then nobody is to be kept out. And to whoever does not hear which generation of the stream
        // its events are of, nothing may be sent: it would take them for others, which it has processed.
        let outcome = accept(start, after: position, common: common)
        guard outcome == .sent else {
            return end(session, because: outcome == .full ? "its receiver reads no answers" : "its receiver is gone")
        }
        deliveries.pump(session)
        ticker.keepTime()
    }

    /// Answers the calls that asked for the session.
    @discardableResult
    func accept(_ start: SessionStart, after position: EventID, common: EventID) -> SendOutcome {
        let origin = head.identity.map { StreamOrigin(generation: $0.generation, after: position, common: common) }
        var outcome = SendOutcome.sent
        for call in start.calls {
            outcome = outbox.peers.answer(start.peer, call.rid, call.asksOrigin ? origin?.json ?? .true : .true)
        }
        return outcome
    }

    // MARK: Living

    /// A message came: every session of the peer lives on; one that was given up is taken back first.
    func heard(_ peer: Peer) {
        for session in table.sessions(of: peer.identity) {
            guard session.peer.caller.isSameUser(as: peer.caller) else {
                // A routing id that was free again, and that somebody else has chosen.
                end(session, because: "its routing id is another user's now")
                continue
            }
            table.heard(session, from: peer)
            switch session {
            case let session as ReliableSession: if session.machine.heard(at: loop.now) { resume(session) }
            case let session as LiveSession: session.lease.heard(at: loop.now)
            default: break
            }
        }
    }

    /// Asks whether the consumer may be taken back.
    private func resume(_ session: ReliableSession) {
        let epoch = session.machine.epoch
        guard let port = membership.consumers else { return resumed(session, nil) }
        port.resume(session.consumer, epoch: epoch) {
            // An event may have been parked meanwhile, which gives the session another epoch.
            guard session.machine.epoch == epoch || session.isOver else { return self.resume(session) }
            self.resumed(session, try? $0.get())
        }
    }

    private func resumed(_ session: ReliableSession, _ isOurs: Bool?) {
        switch session.machine.resumed(isOurs) {
        case .askAgain: return resume(session)
        case .serving: deliveries.sendDue(session, at: loop.now)
        case .lost: lost(session)
        case .waiting: break
        }
        let calls = session.afterResuming
        session.afterResuming = []
        for call in calls { call() }
    }

    /// The connection closed: the session waits for its peer, but keeps nobody out any more, here or at another pusher.
    func disconnected(_ identity: [UInt8]) {
        for session in table.sessions(of: identity) {
            guard let reliable = session as? ReliableSession else {
                table.remove(session)
                continue
            }
            guard let position = deliveries.disconnected(reliable) else { continue }
            positions.release(session.consumer, epoch: reliable.machine.epoch, position: position)
        }
    }

    /// - Parameter mayBeGivenUp: whether other pushers may take sessions over by now.
    func tick(at now: MonotonicTime, mayBeGivenUp: Bool) {
        if mayBeGivenUp, !table.reliable.isEmpty {
            reports.givenUp()
            endAll()
        }
        for session in table.reliable {
            if session.machine.lease.hasEnded(at: now) {
                end(session, because: "nothing was heard from its receiver")
            } else {
                deliveries.sendDue(session, at: now)
            }
        }
    }

    /// What an operator says of a consumer's delivery.
    func kept(_ consumer: ConsumerIdentity, _ owned: PusherRegistry.Owned) {
        guard let session = table.reliable(consumer), session.machine.epoch == owned.epoch else { return }
        switch session.machine.kept(isPaused: owned.isPaused, barrier: owned.barrier) {
        case .asBefore: return
        case .mayGoOn: deliveries.sendDue(session, at: loop.now)
        case .beginsAnew: return end(session, because: "the consumer is being cut into other slices")
        }
        ticker.keepTime()
    }

    // MARK: Ending

    /// Ends a session: stores its position and lets any pusher serve the consumer.
    ///
    /// - Parameter completion: called once both are done, or cannot be done now.
    func end(_ session: Session, because reason: String, quietly: Bool = false, completion: @escaping () -> Void = {}) {
        defer { table.remove(session) }
        guard let session = session as? ReliableSession, let position = session.machine.ended() else { return completion() }
        positions.release(session.consumer, epoch: session.machine.epoch, position: position, completion: completion)
        if !quietly { reports.ended(session, at: position, because: reason, loop.now) }
    }

    /// Another session, perhaps another pusher's, has taken the consumer over; or it was removed.
    func fenced(_ consumer: ConsumerIdentity, epoch: Int64) {
        // A newer session of our own is not meant.
        guard let session = table.reliable(consumer), session.machine.epoch == epoch else { return }
        lost(session)
    }

    private func lost(_ session: ReliableSession) {
        reports.lost(session)
        table.remove(session)
    }

    /// Its user may do something else now, or nothing: it begins anew, if it may.
    func revoked(_ identity: [UInt8]) {
        for session in table.sessions(of: identity) { end(session, because: "the rights of its user have changed") }
    }

    func endAll() { for session in table.reliable { table.remove(session) } }

    /// The pusher stops.
    func stop() { for session in table.reliable { end(session, because: "the pusher stops", quietly: true) } }
}

/// What the log says of sessions: peers can cause these lines; a service that begins many sessions at once is seen to.
struct SessionReports {
    private let logger: Logger
    private var log = PeerLog(
        each: .init(burst: 100, interval: .seconds(1)), all: .init(burst: 1000, interval: .milliseconds(100)))

    init(logger: Logger) { self.logger = logger }

    mutating func started(_ session: Session, at now: MonotonicTime) {
        guard let line = log.line("session started", of: session.peer.account, at: now) else { return }
        logger.info(
            "session started", metadata: line.metadata([.consumer: "\(session.consumer)", .position: "\(session.start)"]))
    }

    mutating func ended(_ session: Session, at position: EventID, because reason: String, _ now: MonotonicTime) {
        guard let line = log.line("session ended", of: session.peer.account, at: now) else { return }
        logger.info(
            "session ended",
            metadata: line.metadata([.consumer: "\(session.consumer)", .position: "\(position)", .reason: "\(reason)"]))
    }

    func lost(_ session: Session) {
        logger.warning(
            "session lost: another pusher or an operator has the consumer", metadata: [.consumer: "\(session.consumer)"])
    }

    func givenUp() {
        logger.warning("heartbeat not stored in time; ending all sessions, so that other pushers may take them over")
    }
}
