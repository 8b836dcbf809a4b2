import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamDiscarder
import LibPQ
import PosixLoop
import TestSupport
import Testing

/// A discarder whose segment's statistics are of another moment, and consumers that register beside it.
@Suite(.serialized) struct DiscardPlanStatisticsTests {
    private static let burst = 60_000

    /// Deleted one by one, vacuumed and so thought to be empty; then a burst.
    private func makeStale(_ pipeline: Pipeline) async throws {
        for statement in [
            "ALTER TABLE evt_queue_0 SET (autovacuum_enabled = off)",
            "INSERT INTO evt_queue (type, data) SELECT 'EARLY', '1' FROM generate_series(1, 20000)",
            "DELETE FROM evt_queue_0", "VACUUM ANALYZE evt_queue_0",
            "INSERT INTO evt_queue (type, data) SELECT 'BURST', '1' FROM generate_series(1, \(Self.burst))",
            "INSERT INTO evt_consumers (ident, last_evt_id) SELECT 'local:DONE', max(id) FROM evt_queue",
        ] { try await TestDatabase.execute(statement, on: pipeline.active) }
    }

    /// Rows of the segment that scans have read.
    private func rowsRead(_ url: String) async throws -> Int {
        try await TestDatabase.number(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'evt_queue_0'", on: url)
    }

    @Test func whatIsReadIsWhatIsDeletedWhateverTheStatisticsSay() async throws {
        try await Pipeline.with([]) { pipeline in
            try await makeStale(pipeline)
            let home = LoopActor()
            defer { home.loop.stop() }
            let before = try await rowsRead(pipeline.active)
            let deleted = try await home.run { loop in
                let connection = try await Connection.open(
                    ConnectionOptions(TestDatabase.url(pipeline.active, as: .discarder), settings: DiscardStore.settings),
                    on: loop)
                defer { connection.close() }
                let store = DiscardStore(try await StreamInfo.load(.standard, from: connection))
                var total = 0
                for _ in 0..<10 {
                    guard let first = try await store.look(on: connection).stream.oldest else { break }
                    total +=
                        try await store.delete(0, from: first, through: EventID(1 << 17 - 1), limit: 1000, on: connection) ?? 0
                }
                return total
            }
            #expect(deleted == 10_000)
            // What a backend has read it tells when it ends, at the latest.
            try await eventually("what was read") { try await rowsRead(pipeline.active) - before >= deleted }
            let read = try await rowsRead(pipeline.active) - before
            #expect(read <= deleted * 4, "\(read) rows were read to delete \(deleted)")
            #expect(try await pipeline.backlog() == Self.burst - deleted)
        }
    }

    @Test func oneThatIsRegisteredAlreadyWaitsForNobodyAndWritesNothing() async throws {
        try await Pipeline.with { pipeline in
            let poller = try await pipeline.poller()
            try await poller.registerConsumer("KNOWN")
            let row = "SELECT ctid, xmin FROM evt_consumers"
            let before = try await TestDatabase.rows(row, on: pipeline.active)
            try await TestDatabase.connected(to: pipeline.active) { discarder in
                let info = try await StreamInfo.load(.standard, from: discarder)
                try await discarder.query("SELECT pg_advisory_lock($1::bigint)", [.int8(info.key(of: .discard))])
                // It has not ended by then.
                try await poller.registerConsumer("KNOWN")
                let registered = try await TestDatabase.connected(to: pipeline.active) { connection in
                    try await connection.query("SET lock_timeout = '1ms'")
                    return try await ConsumerAdmin(try await StreamInfo.load(.standard, from: connection)).register(
                        ConsumerIdentity(component: ConsumerComponent("KNOWN")!), on: connection)
                }
                #expect(registered == nil)
            }
            #expect(try await TestDatabase.rows(row, on: pipeline.active) == before)
        }
    }

    @Test func aNewOneWaitsForABusyDiscarderForSomeSeconds() async throws {
        try await Pipeline.with { pipeline in
            let poller = try await pipeline.poller()
            try await TestDatabase.connected(to: pipeline.active) { discarder in
                let info = try await StreamInfo.load(.standard, from: discarder)
                try await discarder.query("SELECT pg_advisory_lock($1::bigint)", [.int8(info.key(of: .discard))])
                let rollbacks = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
                let before = try await TestDatabase.number(rollbacks, on: pipeline.active)
                async let registering: Void = poller.registerConsumer("NEW")
                // It waits longer than the pusher lets others wait behind one statement, which happens once.
                try await eventually("an attempt that was given up") {
                    try await TestDatabase.number(rollbacks, on: pipeline.active) > before
                }
                try await discarder.query("SELECT pg_advisory_unlock($1::bigint)", [.int8(info.key(of: .discard))])
                try await registering
            }
            #expect(try await pipeline.position(of: "NEW") == 0)
        }
    }
}
