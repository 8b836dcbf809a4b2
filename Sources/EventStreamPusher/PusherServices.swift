import EventStream
import EventStreamServer
import Logging

/// The parts of a pusher, wired together over ports.
struct PusherServices {
    let ports: PusherPorts
    let stream: SharedStream
    let metrics = PusherMetrics()
    let head: HeadDriver
    let membership: Membership
    let reads: EventReads
    let positions: PositionWriter
    let table = SessionTable()
    let ticker: SessionTicker
    let deliveries: DeliveryDriver
    let sessions: SessionDriver
    let parking: ParkingDriver
    let claims: ClaimDriver
    let live: LiveDriver
    let polls: PollDriver
    let registrations: RegisterCalls
    let lag: LagCalls
    let archive: ArchiveCalls
    /// Calls that wait for others of the same user.
    let turns: CallTurns

    /// - Parameter outbox: numbers the calls to peers.
    init(_ configuration: Pusher.Configuration, _ ports: PusherPorts, outbox: Outbox, logger: Logger) {
        self.ports = ports
        let (loop, timeout, groupLimits) = (ports.loop, configuration.sessionTimeout, configuration.groupLimits)
        let (delivery, userLimits) = (configuration.delivery, configuration.limits)
        stream = SharedStream(byteLimit: configuration.windowBytes)
        head = HeadDriver(configuration.head, ports.head, loop: loop, processors: ports.processors, logger: logger)
        membership = Membership(ports, sessionTimeout: timeout, logger: logger)
        reads = EventReads(membership, history: ports.history, loop: loop, logger: logger)
        positions = PositionWriter(membership, loop: loop, logger: logger)
        turns = CallTurns(loop: loop)
        ticker = SessionTicker(table, loop: loop, longest: min(.seconds(1), timeout / 20, delivery.ackTimeout / 5))
        deliveries = DeliveryDriver(
            groupLimits, pace: ReplayPace(share: configuration.replayShare), loop: loop, stream: stream, table: table,
            outbox: outbox, reads: reads, positions: positions, metrics: metrics, ticker: ticker, logger: logger)
        sessions = SessionDriver(
            .init(timeout: timeout, delivery: delivery, groupLimits: groupLimits, maxAttempts: configuration.maxAttempts),
            loop: loop, head: head, table: table, outbox: outbox, membership: membership, positions: positions,
            deliveries: deliveries, ticker: ticker, logger: logger)
        parking = ParkingDriver(
            limit: configuration.parkMax, loop: loop, table: table, reads: reads, membership: membership, positions: positions,
            sessions: sessions, deliveries: deliveries, logger: logger)
        claims = ClaimDriver(
            userLimit: userLimits.userSessions, parking: configuration.park, loop: loop, head: head, table: table, outbox: outbox,
            membership: membership, reads: reads, positions: positions, sessions: sessions, turns: turns)
        live = LiveDriver(
            .init(
                timeout: timeout, groupLimits: groupLimits,
                delivery: .init(
                    requestMax: delivery.requestMax, queueMax: configuration.queueMax, ackTimeout: delivery.ackTimeout)),
            loop: loop, stream: stream, present: StreamPresent(head: head, membership: membership), table: table,
            outbox: outbox, sessions: sessions, claims: claims, turns: turns, ticker: ticker, metrics: metrics)
        polls = PollDriver(
            maxChunkEvents: configuration.maxChunkEvents, loop: loop, head: head, peers: ports.peers,
            membership: membership, reads: reads, turns: turns)
        registrations = RegisterCalls(
            userLimit: userLimits.userConsumers, peers: ports.peers, membership: membership, reads: reads,
            starts: StartFinder(loop: loop, head: head, membership: membership, reads: reads, history: ports.history),
            turns: turns)
        lag = LagCalls(ports.figures, peers: ports.peers)
        archive = ArchiveCalls(ports.archive, loop: loop, head: head, table: table, peers: ports.peers, turns: turns)
        deliveries.onUnreachable = { [weak sessions] in sessions?.disconnected($0) }
        deliveries.onUnavailable = { [weak sessions] in sessions?.end($0, because: $1.text) }
        positions.onFenced = { [weak sessions] in sessions?.fenced($0, epoch: $1) }
    }

    /// Whether calls that need the database can be served.
    var isReady: Bool { head.isConnected && head.settled != nil && membership.isReady }

    /// Whether there is a session for the consumer, or one is being claimed.
    func isServed(_ consumer: ConsumerIdentity) -> Bool { table.reliable(consumer) != nil || claims.isUnderWay(consumer) }
}
