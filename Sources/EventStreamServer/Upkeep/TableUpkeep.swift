package import EventStream
package import EventStreamDatabase
package import LibPQ
package import Logging
package import PosixLoop

/// Makes small tables anew when old versions of their rows pile up, over a connection of its own.
package final class TableUpkeep {
    private let options: ConnectionOptions
    private let loop: EventLoop
    private let logger: Logger
    private var plan = UpkeepPlan<TableName>()
    private var connection: Connection?
    private var usedAt: MonotonicTime?
    /// The tables that are being made anew.
    private var work: [(TableName, TableRewriting)] = []
    private var isStopped = false
    private var told = TroubleLog()
    /// How a table is made anew, once the database is known.
    package var rewriting: ((TableName) -> TableRewriting)?

    /// A connection that is not needed any more is not kept.
    private static let idle = Duration.seconds(30)

    package init(_ options: ConnectionOptions, loop: EventLoop, logger: Logger) {
        self.options = options
        self.loop = loop
        self.logger = logger
    }

    package func stop() {
        isStopped = true
        connection?.close()
    }

    /// So many bytes the tables have.
    package func saw(_ sizes: [TableName: Int]) {
        guard work.isEmpty, !isStopped, let rewriting else { return }
        let due = plan.due(sizes, at: .now)
        guard !due.isEmpty else {
            if let usedAt, MonotonicTime.now - usedAt > TableUpkeep.idle { close() }
            return
        }
        work = due.map { ($0, rewriting($0)) }
        loop.begin(with: self) { await $0.carryOut() }
    }

    private func close() {
        connection?.close()
        (connection, usedAt) = (nil, nil)
    }

    private func carryOut() async {
        defer { work = [] }
        for (table, rewriting) in work where !isStopped {
            do {
                let outcome = try await rewriting.carryOut(on: try await connected(), timeout: UpkeepPlan<TableName>.timeout)
                report(outcome, of: table)
            } catch {
                plan.ended(table, .busy, at: .now)
                guard !isStopped, told.isNews("\(error)") else { continue }
                logger.warning(
                    "a table with many old versions of its rows could not be made anew",
                    metadata: [.table: "\(table)", .error: "\(error)"])
            }
        }
    }

    private func report(_ outcome: TableRewriting.Outcome, of table: TableName) {
        switch outcome {
        case .done(let bytes):
            plan.ended(table, .done(bytes: bytes), at: .now)
            logger.debug("made a table anew", metadata: [.table: "\(table)", .bytes: "\(bytes)"])
        case .busy: plan.ended(table, .busy, at: .now)
        case .impossible(let reason):
            plan.ended(table, .impossible, at: .now)
            guard told.isNews("\(table): \(reason)") else { return }
            logger.warning(
                "a table has many old versions of its rows, which an old snapshot keeps, and cannot be made anew",
                metadata: [.table: "\(table)", .reason: "\(reason)"])
        }
    }

    private func connected() async throws -> Connection {
        usedAt = .now
        if let connection, connection.isOpen { return connection }
        let opened = try await Connection.open(options, on: loop)
        guard !isStopped else {
            opened.close()
            throw PostgresError(.closed, "this process stops")
        }
        connection = opened
        return opened
    }
}
