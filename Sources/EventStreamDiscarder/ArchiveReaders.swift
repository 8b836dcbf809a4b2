import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

/// Tells once of each consumer that events which it has not confirmed are discarded, and when it has caught up.
final class ArchiveReaders {
    private let statement: Statement
    private let period: Duration
    private let logger: Logger
    private var known: Set<String> = []
    private var nextAt: ContinuousClock.Instant?

    init(_ info: StreamInfo, _ rule: HoldRule, period: Duration, logger: Logger) {
        statement = Statement(
            """
            SELECT c.ident, c.last_evt_id FROM \(info.tables.consumers.sql) c CROSS JOIN \(info.tables.state.sql) s
            WHERE c.last_evt_id < s.discarded AND (\(rule.holdsAfter)) IS NULL ORDER BY c.ident
            """, name: "evt_archive_readers")
        self.period = min(period, .seconds(60))
        self.logger = logger
    }

    func update(on connection: Connection) async throws {
        guard nextAt.map({ $0 <= .now }) ?? true else { return }
        nextAt = .now + period
        let rows = try await connection.query(statement)
        let present = Dictionary(
            (0..<rows.count).map { (rows.string($0, 0) ?? "", rows.int($0, 1) ?? 0) }, uniquingKeysWith: { $1 })
        for (consumer, position) in present.sorted(by: { $0.key < $1.key }) where !known.contains(consumer) {
            logger.warning(
                "events that a consumer has not confirmed are discarded: they are in the archive",
                metadata: [.consumer: "\(consumer)", .position: "\(position)"])
        }
        for consumer in known.subtracting(present.keys).sorted() {
            logger.info("a consumer has left the archive, and holds events again", metadata: [.consumer: "\(consumer)"])
        }
        known = Set(present.keys)
    }
}
