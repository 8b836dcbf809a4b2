import EventStream
import EventStreamDatabase
import EventStreamPusher
import LibPQ
import TestSupport

/// Storing the positions of many consumers, beside a snapshot that is as old as an hour of that.
enum PositionsMeasure {
    private static let consumers = 1000
    /// An hour, five times a second; made as fast as it goes.
    private static let stores = 18_000
    private static let counted = 100
    private static let pause = Duration.milliseconds(200)

    /// Measured once: it takes minutes, and each figure is a median already.
    static func row(_ server: String) async throws -> Row {
        let (fresh, late) = try await Database.with(server) { try await measure($0) }
        return Row(
            measure: "1000 positions stored, beside an old snapshot", baseline: "fresh \((fresh * 1000).text(1)) ms",
            result: "\((late * 1000).text(1)) ms", ratio: (late / fresh).text(2), mark: "<= 2.00", isGood: late <= fresh * 2)
    }

    private static func measure(_ database: Database) async throws -> (fresh: Double, late: Double) {
        try await database.execute(
            "INSERT INTO evt_consumers (ident, session_epoch) SELECT 'local:C' || n, n FROM generate_series(1, \(consumers)) n")
        // Positions beyond what was ever recorded would be a fault.
        try await database.execute("SELECT setval('evt_queue_id_seq', 1000000)")
        try await database.execute("VACUUM ANALYZE evt_consumers")
        // A pusher with sessions looks twice a second how large the table is; this one has none.
        let settings = [
            "EVT_DATABASE_URL": database.url, "EVT_SESSION_TIMEOUT": "2500ms", "EVT_PUSHER_BIND": "", "EVT_LIVE_BIND": "",
        ]
        return try await ChildProcess.quietly("evt-pusher", settings) { process in
            let fresh = try await store(0..<counted, in: database, pausing: pause)
            let late = try await database.connected { old in
                try await old.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
                try await old.query("SELECT txid_current()")
                _ = try await store(counted..<stores, in: database, pausing: .zero)
                return try await store(stores..<stores + counted, in: database, pausing: pause)
            }
            try process.checkRunning()
            return (fresh, late)
        }
    }

    /// - Returns: what it took in the middle, in seconds.
    private static func store(_ positions: Range<Int>, in database: Database, pausing pause: Duration) async throws -> Double {
        try await database.connected { connection in
            let info = try await StreamInfo.load(.standard, from: connection)
            let generation = try await GenerationStore(info).identity(on: connection).generation
            let store = ConsumerStore(info)
            var times: [Double] = []
            for position in positions {
                let entries = (1...consumers).map {
                    PositionBook.Entry(
                        consumer: ConsumerIdentity(component: ConsumerComponent("C\($0)")!), epoch: Int64($0),
                        position: EventID(Int64(position + 1)))
                }
                let start = ContinuousClock.now
                let outcome = await withCheckedContinuation { continuation in
                    store.store(entries, of: generation, on: connection) { continuation.resume(returning: $0) }
                }
                times.append((ContinuousClock.now - start).seconds)
                guard try outcome.get().values.allSatisfy({ $0 == .stored }) else { throw Failure("a position was not stored") }
                if pause > .zero { try await Task.sleep(for: pause) }
            }
            return times.median
        }
    }
}
