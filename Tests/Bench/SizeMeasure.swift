import LibPQ
import Synchronization
import TestSupport

/// What the table takes at the most while events pass through it.
enum SizeMeasure {
    private static let events = 5_000_000
    private static let writers = 4
    /// How far the consumer stays behind the writers.
    private static let live = 10_000

    /// Measured once: a maximum is not a matter of luck, and five million events take a while.
    static func rows(_ server: String) async throws -> [Row] {
        let segment = try await Database.with(server) { try await fullSegment($0) }
        let alone = try await Database.with(server) { try await peak($0) }
        let pinned = try await Database.with(server) { database in
            try await database.connected { connection in
                // It never looks at the events, and yet no dead row may be vacuumed away before it has ended.
                try await connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
                try await connection.query("SELECT txid_current()")
                return try await peak(database)
            }
        }
        return [("size while 5M events pass, 10k live", alone), ("the same beside an old snapshot", pinned)].map { name, size in
            let ratio = size / segment
            return Row(
                measure: name, baseline: "a full segment \(segment.text(0)) MB", result: "\(size.text(0)) MB",
                ratio: ratio.text(2), mark: "<= 4.00", isGood: ratio <= 4)
        }
    }

    /// Megabytes of a segment with an event under each of its ids.
    private static func fullSegment(_ database: Database) async throws -> Double {
        let ids = 1 << 17
        try await database.execute(
            """
            SELECT setval('evt_queue_id_seq', \(ids - 1));
            INSERT INTO evt_queue (type, data)
            SELECT 'BENCH', \(Database.data) FROM (SELECT i % \(Writers.eventsEach) AS g FROM generate_series(1, \(ids)) i) s
            """)
        return Double(try await database.number("SELECT pg_total_relation_size('evt_queue_1')")) / 1e6
    }

    /// Megabytes of all segments at the most, while writers go at full speed.
    private static func peak(_ database: Database) async throws -> Double {
        try await database.register("SIZE")
        let (largest, settled) = (Largest(), Settled(writers: writers))
        let settings = ["EVT_DATABASE_URL": database.url, "EVT_DISCARD_POLL_PERIOD": "100ms"]
        try await ChildProcess.quietly("evt-discarder", settings) { process in
            try await Confirmer.with("SIZE", in: database, behind: settled, by: live) {
                try await alongside {
                    try await sample(database, largest)
                } body: {
                    _ = try await Writers.write(events, connections: writers, to: database, settled)
                }
            }
            try process.checkRunning()
        }
        return Double(largest.value) / 1e6
    }

    private static func sample(_ database: Database, _ largest: Largest) async throws {
        let size = Statement(
            """
            SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits WHERE inhparent = 'evt_queue'::regclass
            """, name: "bench_size")
        try await database.connected { connection in
            while true {
                largest.add(try await connection.query(size).int(0, 0) ?? 0)
                try await Task.sleep(for: .milliseconds(25))
            }
        }
    }
}

private final class Largest: Sendable {
    private let known = Mutex<Int64>(0)
    func add(_ value: Int64) { known.withLock { $0 = max($0, value) } }
    var value: Int64 { known.withLock { $0 } }
}
