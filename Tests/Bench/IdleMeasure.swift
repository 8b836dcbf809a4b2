import EventStream
import EventStreamClient
import LibPQ

/// A pusher with nothing to do.
enum IdleMeasure {
    private static let seconds = 40

    static func rows(_ server: String) async throws -> [Row] {
        try await Database.with(server) { database in
            try await Receiver.with("IDLE", in: database) { pusher, _ in
                // What its start cost is reported once its connections have been idle for a while.
                try await Task.sleep(for: .seconds(12))
                // Each statement of a pusher is a transaction of its own. A backend reports what it did within ten seconds, and
                // the question itself counts as well: the figure is a little too high.
                let counted = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
                let (statements, load) = try await database.connected { connection in
                    func count() async throws -> Int64 { try await connection.query(Statement(counted)).int(0, 0) ?? 0 }
                    let (before, processor) = (try await count(), pusher.process.processorTime)
                    try await Task.sleep(for: .seconds(seconds))
                    let (after, used) = (try await count(), pusher.process.processorTime)
                    return (Double(after - before) / Double(seconds), (used - processor) / Double(seconds) * 100)
                }
                return [
                    Row(
                        measure: "idle, one receiver: statements a second", baseline: "none", result: statements.text(2),
                        ratio: "",
                        mark: "< 1", isGood: statements < 1),
                    Row(
                        measure: "idle, one receiver: processor", baseline: "none", result: "\(load.text(2)) %", ratio: "",
                        mark: "< 0.5 %", isGood: load < 0.5),
                ]
            }
        }
    }
}
