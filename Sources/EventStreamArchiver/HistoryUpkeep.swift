import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging
import PosixLoop

/// What the archiver sees to in the warehouse beside copying: that the history is as it was made, its partitions, the table of
/// positions.
final class HistoryUpkeep {
    private let logger: Logger
    /// Months, as `2026-11`, whose partitions have been seen to.
    private var months: Set<String> = []
    private var partitionsMade: ContinuousClock.Instant?
    /// When the history was last seen to have the columns it should have.
    private var checked: ContinuousClock.Instant?
    private let tables: TableUpkeep

    init(_ configuration: Archiver.Configuration, loop: EventLoop, logger: Logger) {
        self.logger = logger
        tables = TableUpkeep(
            ConnectionOptions(
                configuration.url, in: configuration.file, applicationName: "evt-archiver upkeep",
                settings: TableRewriting.settings.merging(["default_transaction_isolation": "read committed"]) { mine, _ in mine }
            ),
            loop: loop, logger: logger)
    }

    /// A new connection knows nothing of what the one before had seen to.
    func begin(_ rewriting: TableRewriting) {
        tables.rewriting = { _ in rewriting }
        (months, partitionsMade, checked) = ([], nil, nil)
    }

    func stop() { tables.stop() }

    /// Before events of these times are copied.
    func prepare(for times: [EventTimestamp], _ store: HistoryStore, on connection: Connection) async throws {
        if checked.map({ .now - $0 > .seconds(1) }) ?? true {
            try await store.checkColumns(on: connection)
            let sizes = try await TableRewriting.sizes(of: [store.tables.positions], on: connection)
            tables.saw([store.tables.positions: sizes.first ?? 0])
            checked = .now
        }
        await makePartitions(for: times, store, on: connection)
    }

    /// Once an hour, and for months not met before. Without partitions of their own events go into the default one.
    private func makePartitions(for times: [EventTimestamp], _ store: HistoryStore, on connection: Connection) async {
        let unseen = times.filter { !months.contains(String($0.description.prefix(7))) }
        let isDue = partitionsMade.map { .now - $0 > .seconds(3600) } ?? true
        guard isDue || !unseen.isEmpty else { return }
        if months.count > 1000 { months = [] }
        for time in unseen { months.insert(String(time.description.prefix(7))) }
        partitionsMade = .now
        do {
            let made = try await store.makePartitions(for: unseen, on: connection)
            if made > 0 { logger.info("made partitions of the history", metadata: [.partitions: "\(made)"]) }
        } catch {
            logger.warning(
                "no new partitions of the history; events go into the default one meanwhile", metadata: [.error: "\(error)"])
        }
    }
}
