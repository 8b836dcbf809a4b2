import EventStream
import EventStreamClient
import EventStreamPusher
import TestSupport
import Testing

/// What jammed the seed: consumers that fall behind again and again, and events larger than a query may be.
///
/// The time limit only ends a test that has failed: a receiver that is stuck would be waited for without end.
@Suite(.serialized, .timeLimit(.minutes(15))) struct SeedFaultOverloadTests {
    /// Counters of the seed's queue drift when it is trimmed: at the 11th overflow a slow consumer is stuck.
    private static let overflows = 14

    @Test func aConsumerThatTheWindowLeavesBehindManyTimesGetsEverythingInOrder() async throws {
        try await Pipeline.with(configure: {
            $0.windowBytes = 1 << 20
            $0.delivery.requestMax = 1
        }) { pipeline in
            // More than a page, and more than the window holds.
            let overflow = Array(repeating: "\"\(String(repeating: "w", count: 1022))\"", count: 1500)
            let slow = try pipeline.receiver("SLOW")
            var batches = slow.batches.makeAsyncIterator()
            var (recorded, received): ([EventID], [EventID]) = ([], [])
            try await pipeline.receiving("FAST") { fast in
                for _ in 0..<Self.overflows {
                    recorded += try await pipeline.record("HEAD")
                    var batch = try #require(await batches.next())
                    received += batch.events.map(\.id)
                    while received.last != recorded.last {
                        await batch.confirm()
                        batch = try #require(await batches.next())
                        received += batch.events.map(\.id)
                    }
                    // It is at the head, with a batch out, and the window passes it by.
                    recorded += try await pipeline.record("OVERFLOW", overflow)
                    try await eventually("the other has them") { await fast.count >= recorded.count }
                    await batch.confirm()
                }
                while received.last != recorded.last {
                    let batch = try #require(await batches.next())
                    received += batch.events.map(\.id)
                    await batch.confirm()
                }
                #expect(received == recorded)
                #expect(await fast.ids == recorded)
            }
            await slow.stop()
        }
    }

    @Test func aLiveReceiverThatOverflowsItsQueueManyTimesGoesOnReceiving() async throws {
        try await Pipeline.with(configure: {
            $0.queueMax = 100
            $0.delivery.requestMax = 1
        }) { pipeline in
            let live = try LiveReceiver(.init(endpoints: [pipeline.pusherEndpoint]))
            try await live.start()
            for await signal in live.signals { if case .ready = signal { break } }
            var groups = live.events.makeAsyncIterator()
            var (recorded, received): ([EventID], [EventID]) = ([], [])
            try await pipeline.receiving("FAST") { fast in
                for _ in 0..<Self.overflows {
                    // The groups in flight are not answered before the live receiver is asked for them.
                    recorded += try await pipeline.record("OVERFLOW", Array(repeating: "1", count: 1000))
                    try await eventually("the other has them") { await fast.count >= recorded.count }
                    let before = received.count
                    repeat {
                        received += try #require(await groups.next()).map(\.id)
                    } while received.last != recorded.last
                    #expect((100..<1000).contains(received.count - before), "the oldest are dropped, the newest are not")
                }
                #expect(zip(received, received.dropFirst()).allSatisfy { $0 < $1 })
            }
            await live.stop()
        }
    }

    /// The seed's archiver is jammed for ever by an event over 9.9 kB, or by many smaller ones.
    @Test func eventsOfTheLargestSizeAndManyOfTenKilobytesPassOnEveryPath() async throws {
        try await Pipeline.with([.pusher, .archiver]) { pipeline in
            let largest = "\"\(String(repeating: "L", count: (8 << 20) - 4096 - 2))\""
            let data = [largest] + (0..<300).map { "[\($0), \"\(String(repeating: "m", count: 10_000))\"]" } + [largest, "1"]
            try await Followers.with(pipeline) { followers in
                let recorded = try await pipeline.record("LARGE", data)
                for (path, events) in try await followers.get(recorded) {
                    #expect(events.map(\.data.description) == data, "\(path)")
                }
                let backlog = try await pipeline.backlog()
                try await eventually("the archive") { try await pipeline.archived() == backlog }
            }
        }
    }
}
