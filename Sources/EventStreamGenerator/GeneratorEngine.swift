import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import LibZMQ
import Logging
import PosixLoop

/// A generator's process: the driver on its loop, with its socket and its connection.
final class GeneratorEngine: RoleEngine {
    private let configuration: Generator.Configuration
    private let logger: Logger
    private let access: AccessControl
    private let server: RequestServer?
    private let database: PersistentConnection
    private let driver: RecordingDriver
    private let watch: HindranceWatch
    private let reconnects = Metric.reconnects.counter()
    private var trouble = TroubleLog()
    private var lastError: String?
    private(set) var served: ServedStream?

    init(_ configuration: Generator.Configuration, loop: EventLoop, logger: Logger) throws {
        (self.configuration, self.logger) = (configuration, logger)
        let context = Context()
        access = try AccessControl(configuration.keys, context: context, loop: loop, logger: logger)
        server =
            configuration.bind.isEmpty
            ? nil
            : try RequestServer(
                .generator, binding: configuration.bind, offering: [.generator, .ping], access: access,
                limits: configuration.limits, context: context, loop: loop, sizeLimit: configuration.maxRequestBytes,
                sendLimit: Int32(clamping: configuration.queueMax), budget: SendBudget(limit: 16 << 20), logger: logger)
        let database = PersistentConnection(configuration.database.options(application: "evt-generator"), on: loop)
        let driver = RecordingDriver(
            configuration, peers: server ?? Nobody(), database: database, loop: LoopLink(loop), logger: logger)
        (self.database, self.driver) = (database, driver)
        watch = HindranceWatch(configuration.database, application: "evt-generator", loop: loop, logger: logger) {
            [weak database, weak driver] in
            database?.current == nil || driver?.progress.waitingSince != nil ? .waiting : .none
        }
    }

    func start() {
        server?.handler = driver
        database.delegate = self
        database.start()
        access.start()
        server?.start()
        watch.start()
        logger.info("listening", metadata: [.endpoints: "\(server?.endpoints.joined(separator: ",") ?? "nowhere")"])
    }

    /// Works until the process is told to stop; then commits and answers what has been received, and closes.
    func run() async {
        await untilShutdown()
        server?.stop()
        access.stop()
        watch.stop()
        await driver.drain()
        database.stop()
        logger.info("stopped")
    }

    func collect() { driver.collect() }

    var readiness: Readiness {
        guard database.current != nil else {
            return .notReady(because: blamed(lastError ?? "the database cannot be reached"))
        }
        if let trouble = driver.trouble { return .notReady(because: blamed(trouble)) }
        if let found = watch.found { return .notReady(because: "events wait for a commit: \(found)") }
        return .ready("recording events")
    }

    /// The trouble, with who is to blame where that has been found out.
    private func blamed(_ trouble: String) -> String { watch.found.map { "\(trouble): \($0)" } ?? trouble }
}

extension GeneratorEngine: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        let info = try await StreamInfo.load(configuration.database.tables, from: connection, writing: true)
        served = try await ServedStream.load(info, from: connection)
        driver.recorder = Recorder(info.tables)
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) {
        if trouble.isGoodNews() {
            logger.info("connected to the database", metadata: [.database: "\(configuration.database)"])
        }
        driver.opened()
    }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        reconnects.add()
        lastError = "\(error)"
        guard trouble.isNews("\(error)") else { return }
        logger.warning("no database; trying again", metadata: [.error: "\(error)"])
    }
}
