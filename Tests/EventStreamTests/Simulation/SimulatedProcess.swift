import EventStream
import EventStreamDatabase
import Logging

@testable import EventStreamPusher
@testable import EventStreamServer

/// A pusher's process: the product's engine over simulated ports.
final class SimulatedProcess {
    struct Configuration {
        var pusher = Pusher.Configuration(
            database: .init(url: ""), bind: Endpoints([]), liveBind: Endpoints([]))
        var headLimits = (rows: 8, bytes: 2000)
        var longestScan: Int64 = 20
    }

    let configuration: Configuration
    private let surroundings: Surroundings
    private let database: SimulatedDatabase
    let timers = SimulatedTimers()
    let run: Int64
    let engine: PusherEngine
    let peers: SimulatedPeers
    private let ports: [SimulatedPort]
    private let head: SimulatedHeadPort
    /// Frozen until then.
    var frozenUntil: MonotonicTime?
    /// It has stopped as it was told to.
    private(set) var hasStopped = false
    private var isStopping = false
    private var largestPage = 0

    init(_ configuration: Configuration, _ surroundings: Surroundings, _ database: SimulatedDatabase, run: Int64) {
        self.configuration = configuration
        self.surroundings = surroundings
        self.database = database
        self.run = run
        let loop = SimulatedLoop(surroundings, timers)
        let head = SimulatedHeadPort(surroundings, database, timers, limits: configuration.headLimits)
        let consumers = SimulatedConsumerPort(
            surroundings, database, timers, pusher: run, interval: Heartbeat.interval(configuration.pusher.sessionTimeout))
        let catchUp = SimulatedCatchUpPort(surroundings, database, timers, longestScan: configuration.longestScan)
        let history =
            surroundings.hasArchive
            ? SimulatedHistoryPort(surroundings, database, timers, longestScan: configuration.longestScan) : nil
        ports = [head, consumers, catchUp] + (history.map { [$0] } ?? [])
        self.head = head
        peers = SimulatedPeers(surroundings, database, loop)
        let broadcast = SimulatedBroadcast()
        engine = PusherEngine(
            configuration.pusher,
            PusherPorts(
                loop: loop, head: head, consumers: consumers, catchUp: catchUp, history: history, figures: NoFigures(),
                archive: SimulatedArchivePort(surroundings, database, loop), processors: SimulatedProcessors(run),
                peers: peers, broadcast: broadcast), outbox: Outbox(peers, after: UInt64(run) << 32),
            logger: surroundings.logger(of: run))
        peers.engine = engine
        broadcast.onPage = { [unowned self] in self.sawPage($0) }
        engine.start()
    }

    private func sawPage(_ page: EventPage) {
        // What the server has answered before it was lost tells of the one before.
        guard head.era == database.queue.era else { return }
        database.oracle.settled(page.through.rawValue, database.queue, "what pusher \(run) holds for settled")
        largestPage = max(largestPage, page.byteCount)
        if let window = engine.services.stream.window, window.byteCount > configuration.pusher.windowBytes + largestPage {
            surroundings.broken("the window of pusher \(run) has \(window.byteCount) bytes")
        }
        let limit = configuration.pusher.delivery.requestMax
        for session in engine.services.table.reliable {
            let (delivery, count) = (session.machine.delivery, session.machine.delivery.inFlight.count)
            guard count > limit else { continue }
            let unanswered = delivery.due(at: surroundings.now + .seconds(86_400)).count
            if unanswered > limit || count > limit * 16 {
                surroundings.broken("\(count) groups are in flight to \(session.consumer), \(unanswered) unanswered")
            }
        }
    }

    /// Its signs of life do not reach the database.
    var isGivenUp: Bool { !engine.isReady || engine.services.membership.heartbeat.mayBeGivenUp(at: surroundings.now) }

    func owns(_ connection: SimulatedConnection) -> Bool { ports.contains { $0.keeper.has(connection) } }

    var summary: String {
        let sessions = engine.services.table.reliable.map { "\($0.consumer): \($0.machine)" }
        return """
            pusher \(run): head: \(engine.services.head.head.map { "\($0)" } ?? "none"), ready: \(engine.isReady), \
            window: \(engine.services.stream.window.map { "\($0.start)...\($0.end)" } ?? "none"), sessions: \(sessions)
            """
    }

    // MARK: Its peers

    /// A message of a peer's arrives.
    func received(_ message: SimulatedLink.ToPusher, over link: SimulatedLink) {
        // A peer heard over a new connection has left the old one.
        peers.links.removeAll { $0 !== link && $0.identity == link.identity && $0.isCut }
        let peer = link.asPeer
        engine.calls.heard(peer)
        switch message {
        case .answer(let rid, let answer):
            let outcome = answer.outcome
            _ = engine.calls.answered(.init(outcome: outcome, rid: .server(rid)), by: peer)
        case .call(let call, let rid): engine.calls.received(call, rid: .client(UInt64(rid)), from: peer)
        }
    }

    func disconnected(_ link: SimulatedLink) { engine.calls.disconnected(link.identity) }

    // MARK: The end

    func stop() {
        guard !isStopping else { return }
        isStopping = true
        engine.stop { [weak self] in self?.hasStopped = true }
    }

    /// The process is gone without a word.
    func kill() {
        timers.cancelAll()
        for port in ports { port.keeper.abandon() }
        for link in peers.links { link.isCutByPusher = true }
    }
}

private final class SimulatedBroadcast: BroadcastPort {
    var onPage: (EventPage) -> Void = { _ in }
    func send(_ page: EventPage) { onPage(page) }
}

private final class NoFigures: FiguresPort {
    let status: StreamStatus? = nil
    func refresh(_ completion: @escaping () -> Void) { completion() }
    func renew(_ completion: @escaping () -> Void) { completion() }
}

/// Short for every third pusher.
private final class SimulatedProcessors: ProcessorPort {
    let areShort: Bool
    init(_ run: Int64) { areShort = run % 3 == 2 }
}

private final class SimulatedArchivePort: ArchivePort {
    private let surroundings: Surroundings
    private let database: SimulatedDatabase
    private let loop: SimulatedLoop

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase, _ loop: SimulatedLoop) {
        (self.surroundings, self.database, self.loop) = (surroundings, database, loop)
    }

    func admit(
        _ token: String, of consumer: ConsumerIdentity, known: String?, epoch: Int64, generation: StreamGeneration,
        _ completion: @escaping (Result<RawJSON, EventStreamError>) -> Void
    ) {
        // Over a connection of its own, and so at any time.
        _ = loop.after(surroundings.milliseconds(0...30)) { [surroundings, database] in
            guard !surroundings.trouble(5) else { return completion(.failure(.internalError("no connection"))) }
            switch database.admit(token, of: consumer, known: known, epoch: epoch, generation: generation) {
            case .admitted(let discarded): completion(.success(ArchiveAdmission(discarded: discarded).json))
            case .fenced: completion(.failure(.consumerBusy("another session has it")))
            case .unknown: completion(.failure(.archiveUnknown("not known")))
            }
        }
    }
}
