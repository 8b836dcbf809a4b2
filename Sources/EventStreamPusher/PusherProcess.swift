import EventStream
import EventStreamDatabase
import EventStreamServer
import LibZMQ
import Logging
import PosixLoop

/// A pusher's process: the engine on its loop, with its sockets and connections.
final class PusherProcess: RoleEngine {
    private let configuration: Pusher.Configuration
    private let logger: Logger
    private let access: AccessControl
    private let server: RequestServer?
    private let broadcast: LiveBroadcast?
    private let figures: StreamFigures
    private let watch: HindranceWatch
    private let engine: PusherEngine

    init(_ configuration: Pusher.Configuration, loop: EventLoop, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        let context = Context()
        access = try AccessControl(configuration.keys, context: context, loop: loop, logger: logger)
        server =
            configuration.bind.isEmpty
            ? nil
            : try RequestServer(
                .pusher, binding: configuration.bind, offering: [.poll, .push, .ping], access: access,
                limits: configuration.limits, context: context, loop: loop, sizeLimit: configuration.maxRequestBytes,
                sendLimit: 2000, budget: SendBudget(limit: configuration.sendBytes), logger: logger)
        broadcast =
            configuration.liveBind.isEmpty
            ? nil
            : try LiveBroadcast(
                binding: configuration.liveBind, access: access, limits: configuration.limits,
                backlog: BroadcastBacklog(byteLimit: configuration.sendBytes, holdLimit: configuration.windowBytes),
                context: context, loop: loop, logger: logger)
        figures = StreamFigures(configuration.database, loop: loop)
        let consumers = ConsumerLink(
            configuration.database, beatInterval: Heartbeat.interval(configuration.sessionTimeout),
            readsArchive: configuration.archive != nil, loop: loop, logger: logger)
        let engine = PusherEngine(
            configuration,
            PusherPorts(
                loop: LoopLink(loop),
                head: HeadLink(configuration.database, failOver: configuration.failOver, loop: loop, logger: logger),
                consumers: consumers, catchUp: CatchUpLink(configuration.database, loop: loop),
                history: configuration.archive.map { HistoryLink($0, loop: loop) }, figures: figures,
                archive: ArchiveLink(configuration.database, loop: loop), processors: ProcessorLoad(),
                peers: server ?? Nobody(), broadcast: broadcast),
            logger: logger)
        self.engine = engine
        watch = HindranceWatch(configuration.database, application: "evt-pusher", loop: loop, logger: logger) {
            [weak engine] in engine?.need ?? .none
        }
        consumers.onMarks = { [stream = engine.services.stream] in stream.times.loaded($0) }
        server?.handler = engine.calls
        broadcast?.onDropped = { [dropped = engine.services.metrics.liveDropped] in dropped.add($0) }
    }

    func start() {
        watch.start()
        engine.start()
        access.start()
        server?.start()
        broadcast?.start()
        let endpoints = (server?.endpoints ?? []) + (broadcast?.endpoints ?? [])
        logger.info("listening", metadata: [.endpoints: "\(endpoints.joined(separator: ","))"])
    }

    func run() async {
        await untilShutdown()
        await stop()
    }

    private func stop() async {
        watch.stop()
        await withCheckedContinuation { continuation in
            engine.stop {
                self.server?.stop()
                self.figures.stop()
            } _: {
                continuation.resume()
            }
        }
        broadcast?.stop()
        access.stop()
        logger.info("stopped")
    }

    /// Brings the gauges up to date.
    func collect() async {
        engine.collect(subscribers: broadcast?.subscriberCount ?? 0)
        await withCheckedContinuation { continuation in figures.refresh { continuation.resume() } }
        guard let present = figures.status?.consumers.map(\.consumer), let time = figures.lookBegan else { return }
        engine.forgetMetrics(but: Set(present), asOf: time)
    }

    /// Which stream it follows, once it does.
    var served: ServedStream? { engine.served }

    var readiness: Readiness {
        let found = watch.found
        if let trouble = engine.trouble ?? found {
            return .notReady(because: found.map { trouble == $0 ? $0 : "\(trouble): \($0)" } ?? trouble)
        }
        guard engine.isReady else { return .notReady(because: "the database cannot be reached") }
        let services = engine.services
        // Whoever is at the head needs no archive.
        let archive = services.reads.trouble.map { "; consumers that read from the archive wait: \($0)" } ?? ""
        return .ready("following the stream at \(services.head.settled ?? .none); sessions: \(services.table.count)\(archive)")
    }
}

extension LiveBroadcast: BroadcastPort {}
extension StreamFigures: FiguresPort {}

extension PusherEngine {
    /// Which stream it follows, once it does.
    var served: ServedStream? {
        services.head.identity.map { ServedStream(stream: $0.generation.stream, place: $0.place, table: services.head.table) }
    }

    /// Why events do not move, or positions cannot be stored, in words for people.
    var trouble: String? {
        // Without a connection, why there is none.
        let errors = services.membership.trouble
        return services.head.trouble(at: .now) ?? errors.consumers ?? services.positions.trouble ?? errors.catchUp
    }

    /// Whether it is worth a look who keeps this pusher from its work.
    var need: HindranceWatch.Need {
        let (head, membership) = (services.head, services.membership)
        guard isReady, errorsAreNone, !membership.heartbeat.isSilent(at: .now), !head.isHeldUp(at: .now) else { return .waiting }
        // A listener relies on another pusher's waking role: a stranger may have that.
        return head.head?.role == .listener ? .doubt : .none
    }

    private var errorsAreNone: Bool {
        let errors = services.membership.trouble
        return errors.consumers == nil && services.positions.trouble == nil && errors.catchUp == nil
    }
}
