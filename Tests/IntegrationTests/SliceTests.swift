import EventStream
import EventStreamClient
import EventStreamDatabase
import LibPQ
import Synchronization
import TestSupport
import Testing

/// Consumers that are cut into slices.
@Suite(.serialized) struct SliceTests {
    /// What workers have processed: of each key the numbers of its events, in order.
    private final class Ledger: Sendable {
        private let entries = Mutex<[String: [Int]]>([:])

        func add(_ event: Event) {
            let number = Int(event.data.description) ?? -1
            entries.withLock { $0[event.key ?? "none", default: []].append(number) }
        }

        var count: Int { entries.withLock { $0.values.reduce(0) { $0 + Set($1).count } } }
        /// Of each key, the events in the order of their first time.
        var firsts: [String: [Int]] {
            entries.withLock {
                $0.mapValues { numbers in
                    var seen: Set<Int> = []
                    return numbers.filter { seen.insert($0).inserted }
                }
            }
        }
    }

    private func record(_ pipeline: Pipeline, _ numbers: ClosedRange<Int>) async throws {
        try await TestDatabase.execute(
            """
            SELECT evt_add('WORK', to_json(n), key => 'k' || n % 20)
            FROM generate_series(\(numbers.lowerBound), \(numbers.upperBound)) n
            """, on: pipeline.active)
    }

    private func worker(_ pipeline: Pipeline, _ ledger: Ledger, atMost limit: Int) throws -> Task<Void, any Error> {
        var configuration = ReceiverConfiguration(endpoints: [pipeline.pusherEndpoint])
        configuration.fields = .key
        configuration.batchLimit = 5
        let worker = try SlicedReceiver("SHARED", slices: 8, atMost: limit, configuration)
        return Task { try await worker.forEach { ledger.add($0) } }
    }

    private func served(_ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number("SELECT count(*) FROM evt_consumers WHERE session_owner IS NOT NULL", on: pipeline.active)
    }

    @Test func workersShareTheSlicesAndKeepTheOrderOfEachKey() async throws {
        try await Pipeline.with { pipeline in
            let ledger = Ledger()
            var workers = [try worker(pipeline, ledger, atMost: 8)]
            try await eventually("one has all slices") { try await served(pipeline) == 8 }
            workers[0].cancel()
            _ = await workers[0].result
            workers = try (0..<4).map { _ in try worker(pipeline, ledger, atMost: 2) }
            try await eventually("four have all slices") { try await served(pipeline) == 8 }
            try await record(pipeline, 1...500)
            try await eventually("some events") { ledger.count > 100 }
            // Another takes over what one leaves.
            workers.append(try worker(pipeline, ledger, atMost: 2))
            workers[1].cancel()
            try await record(pipeline, 501...1000)
            try await eventually("all events") { ledger.count == 1000 }
            for (key, numbers) in ledger.firsts {
                #expect(numbers == (1...1000).filter { "k\($0 % 20)" == key }, "of \(key)")
            }
            try await eventually("the positions") {
                try await TestDatabase.number("SELECT min(last_evt_id) FROM evt_consumers", on: pipeline.active) == 1000
            }
            for worker in workers {
                worker.cancel()
                _ = await worker.result
            }
        }
    }

    @Test func anotherNumberOfSlicesIsRefused() async throws {
        try await Pipeline.with { pipeline in
            let first = try worker(pipeline, Ledger(), atMost: 1)
            try await eventually("a session") { try await served(pipeline) == 1 }
            let other = try SlicedReceiver(
                "SHARED", slices: 7, atMost: 1, ReceiverConfiguration(endpoints: [pipeline.pusherEndpoint]))
            let error = await #expect(throws: EventStreamError.self) { try await other.run { _ in } }
            #expect(error?.code == .invalidRequest && error?.text.contains("8 slices") ?? false)
            first.cancel()
            _ = await first.result
        }
    }

    @Test func theSliceIsTheSameInSQL() async throws {
        #expect(EventSlice.number(of: "a".utf8) == 14_598_278_634_844_962_250)
        #expect(EventSlice.number(of: "1".utf8) == 7_748_076_420_210_162_913)
        try await Pipeline.with([]) { pipeline in
            try await TestDatabase.execute(
                "SELECT evt_add('A', '1'::json, key => CASE WHEN n % 3 > 0 THEN 'é' || n END) FROM generate_series(1, 300) n",
                on: pipeline.active)
            for count in [2, 3, 8, 255, 256] {
                let rows = try await TestDatabase.rows(
                    "SELECT COALESCE(key, id::text), \(EventSlice.sql(of: count)) FROM evt_queue", on: pipeline.active)
                for row in rows {
                    #expect(EventSlice.number(of: row[0]!.utf8) % UInt64(count) == UInt64(row[1]!)!, "\(row) of \(count)")
                }
            }
        }
    }
}
