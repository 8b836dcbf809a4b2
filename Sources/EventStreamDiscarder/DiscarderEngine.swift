import EventStream
import EventStreamServer
import LibPQ
import Logging
import PosixLoop
import ServiceLifecycle

/// Keeps the discarder's work going, over one connection after the other.
final class DiscarderEngine: RoleEngine {
    private let configuration: Discarder.Configuration
    private let loop: EventLoop
    private let logger: Logger
    private let health = DiscarderHealth()

    init(_ configuration: Discarder.Configuration, loop: EventLoop, logger: Logger) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
    }

    var readiness: Readiness { health.readiness }
    var served: ServedStream? { health.served }
    func collect() {}

    func start() {
        logger.info(
            "discarding",
            metadata: [
                .period: "\(configuration.pollPeriod)",
                .required: "\(configuration.required.map(\.consumer.description).joined(separator: ", "))",
                .maxLag: "\(configuration.maxLag?.text ?? "")",
            ])
    }

    func run() async {
        var backoff = Backoff(first: .milliseconds(500), longest: .seconds(30))
        var trouble = TroubleLog()
        while !Task.isShuttingDownGracefully, !Task.isCancelled {
            do {
                let work = try await DiscarderWork.open(configuration, loop: loop, health: health, logger: logger)
                defer { work.close() }
                try await work.run {
                    backoff.reset()
                    health.works()
                    if trouble.isGoodNews() {
                        logger.info("connected to the database", metadata: [.database: "\(configuration.database)"])
                    }
                }
            } catch is CancellationError {
                break
            } catch {
                let pause = backoff.next()
                health.failed(error)
                if trouble.isNews("\(error)") {
                    logger.warning("nothing discarded; trying again", metadata: [.error: "\(error)"])
                }
                try? await cancelWhenGracefulShutdown { try await Task.sleep(for: pause) }
            }
        }
        logger.info("stopped")
    }
}
