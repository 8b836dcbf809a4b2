import EventStream
import EventStreamClient
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// Order without loss, whatever order transactions commit in.
@Suite(.serialized) struct OrderTests {

    @Test func anUnrelatedOpenTransactionDelaysNothing() async throws {
        try await Pipeline.with { pipeline in
            try await TestDatabase.execute("CREATE TABLE other (id int)", on: pipeline.active)
            try await TestDatabase.connected(to: pipeline.active) { connection in
                try await connection.query("BEGIN")
                try await connection.query("INSERT INTO other VALUES (1)")
                let receiver = try pipeline.receiver("UNRELATED")
                // A gap that only a look at the lock holders can settle.
                try await TestDatabase.execute("SELECT nextval('evt_queue_id_seq')", on: pipeline.active)
                let recorded = try await pipeline.record("NOW")
                #expect(await Collector.collect(1, from: receiver).map(\.id) == recorded)
                try await connection.query("ROLLBACK")
                await receiver.stop()
            }
        }
    }

    /// The gap is seen, its holder noted, and only then is the transaction prepared: the lock goes on without a process.
    @Test(arguments: [false, true]) func aPreparedTransactionHoldsTheStreamUntilItEnds(commits: Bool) async throws {
        try await Pipeline.with { pipeline in
            try await TestDatabase.connected(to: pipeline.active) { connection in
                try await connection.query("SET eventstream.notify = off")
                let receiver = try pipeline.receiver("TWOPHASE")
                let poller = try await pipeline.poller()
                try await connection.query("BEGIN")
                let open = EventID(try await connection.query("SELECT evt_add('OPEN', '1')").int(0, 0) ?? 0)
                let after = try await pipeline.record("AFTER", ["1", "2"])
                // A fresh poll has looked at the holders.
                #expect(try await poller.pollEvents("LIVE", after: nil).isEmpty)
                let name = "evt_\(UInt64.random(in: 0...UInt64.max))"
                try await connection.query(Statement("PREPARE TRANSACTION '\(name)'"))
                for _ in 0..<5 { #expect(try await poller.pollEvents("LIVE", after: nil).isEmpty) }
                try await connection.query(Statement(commits ? "COMMIT PREPARED '\(name)'" : "ROLLBACK PREPARED '\(name)'"))
                let expected = commits ? [open] + after : after
                #expect(await Collector.collect(expected.count, from: receiver).map(\.id) == expected)
                await receiver.stop()
            }
        }
    }

    @Test func whatHoldsTheStreamBackIsNamed() async throws {
        try await Pipeline.with([]) { pipeline in
            #expect(try await pipeline.openWriters().isEmpty)
            try await TestDatabase.connected(to: pipeline.active) { writer in
                try await writer.query("SET application_name = 'slow job'")
                try await writer.query("SET eventstream.notify = off")
                try await writer.query("BEGIN")
                try await writer.query("SELECT evt_add('OPEN', '1')")
                let open = try await pipeline.openWriters()
                #expect(open.map(\.processID) == [Int(writer.backendProcessID)])
                #expect(open.map(\.application) == ["slow job"])
                #expect(open.map(\.state) == ["idle in transaction"])
                #expect(open.allSatisfy { $0.since.hasSuffix("Z") && $0.queryStart.hasSuffix("Z") })
                let name = "evt_\(UInt64.random(in: 0...UInt64.max))"
                try await writer.query(Statement("PREPARE TRANSACTION '\(name)'"))
                let prepared = try await pipeline.openWriters()
                #expect(prepared.map(\.prepared) == [name])
                #expect(prepared.map(\.transaction) == open.map(\.transaction), "the same holder, to those who wait")
                #expect(prepared.first?.description.contains(name) == true)
                try await writer.query(Statement("ROLLBACK PREPARED '\(name)'"))
            }
        }
    }

    /// Short transactions flow past a slow one; whoever is behind must not stay behind.
    @Test func slowWritersDoNotMakeTheStreamFallBehind() async throws {
        try await Pipeline.with { pipeline in
            let receiver = try pipeline.receiver("KEEPSUP")
            let seen = Collector()
            let reading = Task {
                for await batch in receiver.batches {
                    await seen.add(batch.events)
                    await batch.confirm()
                }
            }
            // Always one that holds the lock, and always a gap behind it.
            let slow = Task {
                try await TestDatabase.connected(to: pipeline.active) { connection in
                    while !Task.isCancelled {
                        try await connection.query("BEGIN")
                        try await connection.query("SELECT evt_add('SLOW', '1')")
                        try await connection.query("SELECT pg_sleep(3)")
                        try await connection.query("ROLLBACK")
                    }
                }
            }
            var recorded = 0
            for _ in 0..<40 {
                // More than a page in each stretch between two slow ones.
                recorded += 1500
                try await TestDatabase.execute(
                    "INSERT INTO evt_queue (type, data) SELECT 'FAST', '1' FROM generate_series(1, 1500)", on: pipeline.active)
            }
            let (mark, target) = (await seen.count, recorded)
            // While the slow ones go on: what was read a page per slow transaction would never get here.
            try await eventually("all of the \(target), after \(mark)", within: .seconds(90)) { await seen.count >= target }
            slow.cancel()
            _ = await slow.result
            await receiver.stop()
            _ = await reading.result
            #expect(await seen.ids == (await seen.ids).sorted())
        }
    }

    @Test func eventsBeforeTheStartOfThePusherAreNotLostToAnOpenTransaction() async throws {
        try await Pipeline.with([]) { pipeline in
            try await TestDatabase.connected(to: pipeline.active) { connection in
                try await connection.query("BEGIN")
                let open = EventID(try await connection.query("SELECT evt_add('OPEN', '1')").int(0, 0) ?? 0)
                let after = try await pipeline.record("AFTER", ["1", "2"])
                try await pipeline.run([.pusher]) {
                    let receiver = try pipeline.receiver("COLD")
                    try await receiver.start()
                    for await signal in receiver.signals { if case .ready = signal { break } }
                    try await connection.query("COMMIT")
                    #expect(await Collector.collect(3, from: receiver).map(\.id) == [open] + after)
                    await receiver.stop()
                }
            }
        }
    }
}
