import EventStream
import EventStreamDatabase
import EventStreamServer
import LibZMQ
import Logging

/// Groups on their way to receivers, and what comes back: carries out what ``SessionMachine`` decides.
final class DeliveryDriver {
    private let loop: any LoopPort
    private let stream: SharedStream
    private let table: SessionTable
    private let outbox: Outbox
    private let reads: EventReads
    private let positions: PositionWriter
    private let metrics: PusherMetrics
    private let ticker: SessionTicker
    private let catchUp: CatchUpReads
    private var reports: DeliveryReports
    /// No more groups are started.
    var isStopping = false
    /// The peer of a session turned out to be gone.
    var onUnreachable: ([UInt8]) -> Void = { _ in }
    /// An event is to be set aside.
    var onPark: (ReliableSession) -> Void = { _ in }
    /// The event that a session stands at has failed; it is sent again.
    var onFailure: (ReliableSession) -> Void = { _ in }
    /// Events that follow a parked one are to be set aside before anything else is sent.
    var onFollowers: (ReliableSession, [Event]) -> Void = { _, _ in }
    /// There may be room for the parked event that a session awaits.
    var onRoom: (ReliableSession) -> Void = { _ in }
    /// A parked event was delivered again.
    var onRetried: (ReliableSession, EventID, ParkedStore.Retried) -> Void = { _, _, _ in }
    /// What a session needs cannot be read here.
    var onUnavailable: (ReliableSession, EventStreamError) -> Void = { _, _ in }

    init(
        _ limits: GroupLimits, pace: ReplayPace, loop: any LoopPort, stream: SharedStream, table: SessionTable, outbox: Outbox,
        reads: EventReads, positions: PositionWriter, metrics: PusherMetrics, ticker: SessionTicker, logger: Logger
    ) {
        self.loop = loop
        self.stream = stream
        self.table = table
        self.outbox = outbox
        self.reads = reads
        self.positions = positions
        self.metrics = metrics
        self.ticker = ticker
        catchUp = CatchUpReads(
            limits, pace: pace, loop: loop, stream: stream, table: table, reads: reads, outbox: outbox, ticker: ticker,
            logger: logger)
        reports = DeliveryReports(logger: logger)
        catchUp.onPage = { [weak self] in self?.pump($0) }
        catchUp.onUnavailable = { [weak self] in self?.onUnavailable($0, $1) }
    }

    func pumpAll() { for session in table.reliable { pump(session) } }

    /// Sends what the session's window has room for.
    func pump(_ session: ReliableSession) {
        guard !isStopping, !session.isOver, let window = stream.window else { return }
        if session.machine.awaitsParked { onRoom(session) }
        while true {
            switch session.machine.next(in: window) {
            case .group(let group):
                guard outbox.hasRoom(for: group.bytes, to: session) else {
                    session.machine.foundNoRoom(for: group)
                    return ticker.keepTime(within: .milliseconds(20))
                }
                send(session.machine.took(group, waitingSince: waitingSince(group), at: loop.now), group, to: session)
            case .passed(let position): positions.note(session.consumer, epoch: session.machine.epoch, position: position)
            case .follow(let events): return onFollowers(session, events)
            case .catchUp: return catchUp.begin(for: session)
            case .nothing: return
            }
        }
    }

    /// Since when the first event of a group could be delivered.
    private func waitingSince(_ group: EventGroup) -> EventTimestamp? {
        guard let id = group.first, let time = group.firstTimestamp else { return nil }
        return stream.times.waitingSince(id, time, now: loop.wallClock)
    }

    private func send(_ group: ConsumerDelivery.Group, _ events: EventGroup, to session: ReliableSession) {
        let (rid, now) = (outbox.nextRid(), loop.now)
        let call = OnEvents.encoded(
            sequence: group.sequence, session: session.isPartial ? session.number : nil, isParked: group.isParked, group: events,
            rid: .server(rid))
        switch outbox.peers.send(session.peer, call) {
        case .sent: session.machine.sent(group.sequence, rid: rid, at: now)
        case .full:
            session.machine.postponed(group.sequence, until: now + .milliseconds(20))
            ticker.keepTime(within: .milliseconds(20))
        case .unreachable:
            session.machine.postponed(group.sequence, until: now)
            onUnreachable(session.peer.identity)
        }
    }

    // MARK: Sending again

    /// Sends again what is overdue, and what could not be sent before.
    func sendDue(_ session: ReliableSession, at now: MonotonicTime) {
        if let id = session.machine.overdueParked(at: now) {
            session.retrying = nil
            onRetried(session, id, .failed("no answer in time"))
        }
        if let verdict = session.machine.overdue(at: now) { failed(session, verdict) }
        for group in session.machine.due(at: now) {
            guard outbox.hasRoom(for: session.machine.roomToAskFor, to: session) else {
                ticker.keepTime(within: .milliseconds(20))
                break
            }
            session.machine.rereadBegan(group)
            sendAgain(group, to: session)
        }
        pump(session)
    }

    /// The group's events are taken from the window or read again; the range of ids gives the same ones.
    private func sendAgain(_ group: ConsumerDelivery.Group, to session: ReliableSession) {
        guard !group.isParked else {
            session.machine.rereadFailed(group)
            return session.retrying.map { send(group, $0, to: session) } ?? ()
        }
        if let window = stream.window, window.covers(after: group.after) {
            return reread(group, in: window.pages(after: group.after), for: session)
        }
        reads.readWhole(
            after: group.after, through: group.last, want: session.want,
            limits: .init(rows: group.count + group.leftOut, bytes: 4 * MessageLimit.events)
        ) { result in
            switch result {
            case .success(let pages): self.reread(group, in: pages, for: session)
            case .failure(let failure):
                session.machine.rereadFailed(group)
                if case .unavailable(let error) = failure, !session.isOver { self.onUnavailable(session, error) }
            }
        }
    }

    private func reread(_ group: ConsumerDelivery.Group, in pages: some Sequence<EventPage>, for session: ReliableSession) {
        guard let events = session.machine.reread(group, in: pages, at: loop.now) else { return }
        guard outbox.hasRoom(for: events.bytes, to: session) else {
            session.machine.rereadFoundNoRoom(for: events.bytes)
            return ticker.keepTime(within: .milliseconds(20))
        }
        send(group, events, to: session)
    }

    // MARK: Answers

    /// - Returns: whether it answers something.
    func answered(_ session: ReliableSession, _ rid: UInt64, _ outcome: Result<RawJSON, EventStreamError>) -> Bool {
        let answer = GroupAnswer(outcome)
        switch session.machine.answered(rid, answer, at: loop.now) {
        case .confirmed(let position, let events, let times):
            positions.note(session.consumer, epoch: session.machine.epoch, position: position)
            measure(session, events, waitingSince: times)
            pump(session)
        case .retry(let group, let pause, let position, let events, let verdict):
            // A part of the group was processed, perhaps.
            positions.note(session.consumer, epoch: session.machine.epoch, position: position)
            measure(session, events, waitingSince: [])
            ticker.keepTime(within: pause)
            if let error = answer.error { reports.failed(group, error, session, at: loop.now) }
            failed(session, verdict)
        case .parked(let id, let error, let position):
            positions.note(session.consumer, epoch: session.machine.epoch, position: position)
            session.retrying = nil
            onRetried(session, id, error.map { .failed($0) } ?? .processed)
            pump(session)
        case .waiting: break
        case .unknown: return false
        }
        return true
    }

    private func failed(_ session: ReliableSession, _ verdict: Attempts.Verdict) {
        switch verdict {
        case .again: onFailure(session)
        case .isolate:
            session.number = table.nextNumber(at: loop.wallClock)
            onFailure(session)
            pump(session)
        case .park: onPark(session)
        }
    }

    /// The connection closes: the receiver may have died of what was in flight.
    ///
    /// - Returns: the position with which the consumer is to be offered to every pusher; nil if the session was over before.
    func disconnected(_ session: ReliableSession) -> EventID? {
        let (failing, parked) = (session.machine.attempts.failing, session.machine.delivery.parkedInFlight)
        guard let position = session.machine.disconnected(at: loop.now) else { return nil }
        if session.machine.attempts.failing != failing { failed(session, session.machine.isParking ? .park : .again) }
        if let parked, parked.isSent {
            onRetried(session, parked.first, .unanswered(limit: session.machine.attempts.limit))
        }
        return position
    }

    /// Data was erased: what has been read is read again.
    func dataErased(_ session: ReliableSession) {
        session.machine.forgetPages()
        guard session.retrying != nil else { return }
        session.machine.forgetSent()
        (session.number, session.retrying) = (table.nextNumber(at: loop.wallClock), nil)
    }

    /// Whether the peer has room for a parked event now.
    func hasRoom(for event: EventGroup, to session: ReliableSession) -> Bool {
        !isStopping && outbox.hasRoom(for: event.bytes, to: session)
    }

    /// Sends a parked event.
    func retry(_ id: EventID, _ event: EventGroup, to session: ReliableSession) {
        session.retrying = event
        send(session.machine.tookParked(id, at: loop.now), event, to: session)
        ticker.keepTime()
    }

    func metrics(of consumer: ConsumerIdentity) -> PusherMetrics.OfConsumer {
        metrics.of(consumer) { self.table.reliable($0) != nil }
    }

    private func measure(_ session: ReliableSession, _ events: Int, waitingSince times: [EventTimestamp]) {
        let figures = metrics(of: session.consumer)
        figures.delivered.add(events)
        let now = loop.wallClock
        for time in times { figures.latency.record(.microseconds(max(0, now.microseconds - time.microseconds))) }
    }
}

/// What the log says of deliveries.
struct DeliveryReports {
    let logger: Logger
    private var failures = PeerLog(each: .init(burst: 3, interval: .seconds(10)))

    init(logger: Logger) { self.logger = logger }

    mutating func failed(
        _ group: ConsumerDelivery.Group, _ text: String, _ session: Session, at now: MonotonicTime
    ) {
        guard let line = failures.line("cannot process", of: session.peer.account, at: now) else { return }
        logger.warning(
            "a receiver cannot process a group; it is sent again",
            metadata: line.metadata([
                .consumer: "\(session.consumer)", .first: "\(group.first)", .last: "\(group.last)",
                .attempts: "\(group.attempts)", .error: "\(text.prefix(500))",
            ]))
    }
}
