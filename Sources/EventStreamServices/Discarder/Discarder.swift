import EventLoop
import EventStore
import EventStream
public import Logging
import Postgres
public import ServiceLifecycle

/// Keeps the active table small: removes events that every registered consumer has confirmed.
public struct Discarder: Service {
    public struct Configuration: Sendable {
        public var database: DatabaseConfiguration
        /// How often to look for events to discard.
        public var pollPeriod = Duration.seconds(600)
        /// Events one transaction deletes at most.
        public var limitAtOnce = 1000

        public init(database: DatabaseConfiguration) { self.database = database }
    }

    private let configuration: Configuration
    private let logger: Logger

    public init(_ configuration: Configuration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    public func run() async throws {
        let (configuration, logger) = (configuration, logger)
        try await ServiceRunner.run { loop in
            logger.info("discarding", metadata: ["period": "\(configuration.pollPeriod)"])
            var backoff = Backoff(first: .milliseconds(500), longest: .seconds(30))
            var connection: Connection?
            while !Task.isShuttingDownGracefully, !Task.isCancelled {
                do {
                    if connection?.isOpen != true {
                        connection = try await Connection.open(
                            configuration.database.options(
                                application: "evt-discarder",
                                // Registering waits for the discarder; a frozen one must not keep it waiting.
                                settings: ["lock_timeout": "5s", "idle_in_transaction_session_timeout": "10s"]), on: loop)
                    }
                    guard let open = connection else { continue }
                    let discarded = try await Discarder.discardAll(configuration, on: open)
                    backoff.reset()
                    if discarded > 0 { logger.info("discarded", metadata: [.events: "\(discarded)"]) }
                    try await cancelWhenGracefulShutdown { try await Task.sleep(for: configuration.pollPeriod) }
                } catch is CancellationError {
                    break
                } catch {
                    connection?.close()
                    connection = nil
                    let pause = backoff.next()
                    logger.warning("nothing discarded; trying again", metadata: [.error: "\(error)", .retryIn: "\(pause)"])
                    try? await cancelWhenGracefulShutdown { try await Task.sleep(for: pause) }
                }
            }
            connection?.close()
            logger.info("stopped")
        }
    }

    private static func discardAll(_ configuration: Configuration, on connection: Connection) async throws -> Int {
        let store = DiscardStore(try await StreamInfo.load(configuration.database.tables, from: connection))
        let plan = DiscardPlan(limit: configuration.limitAtOnce)
        var total = 0
        while !Task.isShuttingDownGracefully, let deleted = try await store.step(plan, on: connection) { total += deleted }
        return total
    }
}
