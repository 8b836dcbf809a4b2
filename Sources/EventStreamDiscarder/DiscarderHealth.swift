import EventStreamServer
import LibPQ
import Logging

/// What others see of the discarder.
final class DiscarderHealth {
    /// Which stream it works on, once that is known.
    var served: ServedStream?
    private let discarded = Metric.discarderEvents.counter()
    private let refused = Metric.discarderRefused.gauge()
    private let reconnects = Metric.reconnects.counter()
    private var error: String? = "it has not been connected to the database yet"
    var doing = "discarding"
    /// Who keeps it from discarding, or from its role.
    var hindrance: String?
    /// Why confirmed events are kept nevertheless.
    private(set) var refusal: String?
    /// Events that were discarded and that no line of the log has told of.
    private var unreported = 0
    private var reported: ContinuousClock.Instant?

    init() { refused.set(0) }

    func works() { error = nil }

    func removed(_ count: Int) {
        unreported += count
        discarded.add(count)
    }

    /// Tells how many events were discarded: every 10 s, or always, for the last time.
    func report(always: Bool, to logger: Logger) {
        guard unreported > 0, always || reported.map({ .now - $0 >= .seconds(10) }) ?? true else { return }
        logger.info("discarded", metadata: [.events: "\(unreported)"])
        (unreported, reported) = (0, .now)
    }

    /// - Parameter lacksEvents: whether an archive that could be asked does not hold what it should.
    func keeps(because refusal: String?, lacksEvents: Bool) {
        self.refusal = refusal
        refused.set(lacksEvents ? 1 : 0)
    }

    func failed(_ error: any Error) {
        self.error = "\(error)"
        // What the server refuses is no lost connection.
        if (error as? PostgresError)?.code != .server { reconnects.add() }
    }

    var readiness: Readiness {
        if let problem = error ?? hindrance ?? refusal.map({ "confirmed events are kept: \($0)" }) {
            return .notReady(because: problem)
        }
        return .ready(doing)
    }
}
