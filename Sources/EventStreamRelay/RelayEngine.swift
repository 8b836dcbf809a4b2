import EventStreamServer
import Logging

/// The relay's work. What it does is done by ``RelayWorker``s, beside the role's thread, which is for whoever asks.
final class RelayEngine: RoleEngine {
    private let status = RelayStatus()
    private let metrics = RelayMetrics()
    private let work: RelayWork

    init(_ configuration: Relay.Configuration, logger: Logger) throws(ConfigurationError) {
        let shared = RelayWorker.Shared(
            sink: try HTTPSink(configuration), gate: RequestGate(configuration.concurrency), status: status, metrics: metrics,
            logger: logger)
        work = RelayWork(configuration, shared)
    }

    func start() {}
    func run() async throws { await work.run() }
    var readiness: Readiness { status.readiness }
    var served: ServedStream? { status.stream.map { ServedStream(stream: $0, place: nil, table: nil) } }
    func collect() async { metrics.collect(status) }
}
