import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamPusher
import LibPQ
import TestSupport
import Testing

/// Pushing: the seed's DBPushService and receiver suites and its unit cases.
@Suite(.serialized) struct PushTests {
    @Test func aReceiverThatReachesNobodySaysSo() async throws {
        let receiver = try ReliableReceiver(
            "LONELY", endpoint: "ipc:///tmp/evt-nobody-\(UInt64.random(in: 0...UInt64.max))", want: nil)
        try await receiver.start()
        for await signal in receiver.signals {
            guard case .workerError(let error) = signal else { continue }
            #expect(error.description.contains("nobody answers at ipc:///tmp/evt-nobody-"))
            break
        }
        await receiver.stop()
    }

    @Test func liveAndReliableReceiversRunSideBySide() async throws {
        try await Pipeline.with { pipeline in
            let before = try await pipeline.record("BEFORE", ["1", "2"])
            let live = try LiveReceiver(.init(endpoints: [pipeline.pusherEndpoint]))
            let reliable = try pipeline.receiver("SIDE")
            let seen = Collector()
            let watching = Task { for await events in live.events { await seen.add(events) } }
            for await signal in live.signals { if case .ready = signal { break } }
            let after = try await pipeline.record("AFTER", ["3", "4", "5"])
            #expect(await Collector.collect(5, from: reliable).map(\.id) == before + after)
            try await eventually("the live events") { await seen.count >= 3 }
            #expect(await seen.ids == after)
            await live.stop()
            await reliable.stop()
            _ = await watching.result
        }
    }

    @Test func aBatchNotConfirmedComesAgain() async throws {
        try await Pipeline.with(configure: { $0.delivery.errorPause = .milliseconds(10) }) { pipeline in
            let recorded = try await pipeline.record("AGAIN", ["1", "2"])
            let receiver = try pipeline.receiver("AGAIN")
            var iterator = receiver.batches.makeAsyncIterator()
            let first = await iterator.next()
            #expect(first?.events.map(\.id) == recorded)
            // Asking on without confirming says: not processed.
            let second = await iterator.next()
            #expect(second?.events.map(\.id) == recorded)
            await second?.confirm()
            try await eventually("the position") { try await pipeline.position(of: "AGAIN") == 2 }
            await receiver.stop()
        }
    }

    @Test func aSecondReceiverWaitsUntilTheFirstStops() async throws {
        try await Pipeline.with { pipeline in
            let first = try pipeline.receiver("ONE")
            try await first.start()
            for await signal in first.signals { if case .ready = signal { break } }
            let second = try pipeline.receiver("ONE")
            try await second.start()
            var wasBusy = false
            for await signal in second.signals {
                switch signal {
                case .workerError(let error):
                    // A busy machine may be late with its answers.
                    guard error.name == "ConsumerBusy" else { continue }
                    wasBusy = true
                    await first.stop()
                    continue
                case .ready: break
                default: continue
                }
                break
            }
            #expect(wasBusy)
            await second.stop()
        }
    }

    @Test func `a position moved by the operator takes effect on a running receiver`() async throws {
        try await Pipeline.with(configure: { $0.sessionTimeout = .milliseconds(500) }) { pipeline in
            let recorded = try await pipeline.record("MOVED", ["1", "2", "3"])
            let first = try pipeline.receiver("MOVED") { $0.keepAlive = .milliseconds(50) }
            #expect(await Collector.collect(3, from: first).map(\.id) == recorded)
            try await eventually("the position") { try await pipeline.position(of: "MOVED") == 3 }
            try await TestDatabase.connected(to: pipeline.active) { connection in
                let admin = ConsumerAdmin(try await StreamInfo.load(.standard, from: connection))
                _ = try await admin.set("local:MOVED", to: .after(EventID(1)), on: connection)
            }
            // The session ends, a new one begins, and what comes again is known to be processed.
            let reading = Task { for await batch in first.batches { Issue.record("again: \(batch.events.map(\.id))") } }
            try await eventually("the position again") { try await pipeline.position(of: "MOVED") == 3 }
            await first.stop()
            _ = await reading.result
        }
    }

    @Test func registeringManyTimesUsesNothingUp() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.connected(to: url) { connection in
                let admin = ConsumerAdmin(try await StreamInfo.load(.standard, from: connection))
                for _ in 0..<100 { _ = try await admin.register(ConsumerIdentity("AGAIN")!, on: connection) }
            }
            // The table's smallserial has 32 767 ids; a reconnecting receiver registers every time.
            let drawn = try await TestDatabase.number("SELECT last_value FROM evt_consumers_id_seq", on: url)
            #expect(drawn == 1)
        }
    }

    @Test func `a cancelled query of the pusher does not stop the stream`() async throws {
        try await Pipeline.with { pipeline in
            let receiver = try pipeline.receiver("CANCELLED")
            let seen = Collector()
            let reading = Task {
                for await batch in receiver.batches {
                    await seen.add(batch.events)
                    await batch.confirm()
                }
            }
            var recorded = 0
            for _ in 0..<20 {
                recorded += try await pipeline.record("CANCEL", ["1", "2", "3"]).count
                try await TestDatabase.execute(
                    """
                    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                    WHERE application_name LIKE 'evt-pusher%' AND datname = current_database()
                    """,
                    on: pipeline.active)
            }
            try await eventually("all events") { await seen.count >= recorded }
            #expect(await seen.ids == (1...recorded).map { EventID(Int64($0)) })
            await receiver.stop()
            _ = await reading.result
        }
    }

    @Test func aLockedConsumerRowHoldsUpNobodyElse() async throws {
        try await Pipeline.with { pipeline in
            let (locked, free) = (try pipeline.receiver("LOCKED"), try pipeline.receiver("FREE"))
            try await pipeline.record("ROW")
            _ = await Collector.collect(1, from: locked)
            _ = await Collector.collect(1, from: free)
            try await eventually("both positions") {
                let positions = (try await pipeline.position(of: "LOCKED"), try await pipeline.position(of: "FREE"))
                return positions == (1, 1)
            }
            try await TestDatabase.connected(to: pipeline.active) { connection in
                try await connection.query("BEGIN")
                try await connection.query("SELECT FROM evt_consumers WHERE ident = 'local:LOCKED' FOR UPDATE")
                try await pipeline.record("ROW")
                _ = await Collector.collect(1, from: locked)
                _ = await Collector.collect(1, from: free)
                try await eventually("the free one's position") { try await pipeline.position(of: "FREE") == 2 }
                try await connection.query("COMMIT")
            }
            try await eventually("the other position") { try await pipeline.position(of: "LOCKED") == 2 }
            await locked.stop()
            await free.stop()
        }
    }
}
