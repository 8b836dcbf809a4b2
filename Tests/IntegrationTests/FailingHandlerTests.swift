import EventStream
import EventStreamClient
import EventStreamPusher
import TestSupport
import Testing

/// A handler that fails while later groups are here already.
@Suite(.serialized) struct FailingHandlerTests {
    private struct Poison: Error {}

    /// Each event is a group of its own, and four are in flight.
    private static func oneByOne(_ configuration: inout Pusher.Configuration) { configuration.groupLimits.events = 1 }

    @Test(arguments: [1, 3, 1000]) func whatFailsOnceIsProcessedInItsPlace(batchLimit: Int) async throws {
        try await Pipeline.with([.pusher], configure: Self.oneByOne) { pipeline in
            try await pipeline.record("WORK", (1...40).map(String.init))
            let receiver = try pipeline.receiver("FAILING") { $0.batchLimit = batchLimit }
            var failing: Set<Int64> = [1, 5, 6, 23, 40]
            var processed: [Int64] = []
            for await batch in receiver.batches {
                if let poison = batch.events.first(where: { failing.contains($0.id.rawValue) }) {
                    failing.remove(poison.id.rawValue)
                    await batch.reject(because: "poison")
                } else {
                    processed += batch.events.map(\.id.rawValue)
                    await batch.confirm()
                }
                if processed.count >= 40 { break }
            }
            await receiver.stop()
            #expect(processed == Array(1...40))
            try await eventually("the position") { try await pipeline.position(of: "FAILING") == 40 }
        }
    }

    /// One that knows what it has processed, and begins anew after each failure.
    @Test func whatFailsIsNotTakenForProcessedAfterARestart() async throws {
        try await Pipeline.with([.pusher], configure: Self.oneByOne) { pipeline in
            try await pipeline.record("WORK", (1...20).map(String.init))
            var failing: Set<Int64> = [5, 6, 20]
            var processed: [Int64] = []
            while processed.count < 20 {
                let last = processed.last.map { EventID($0) } ?? .none
                let receiver = try pipeline.receiver("RESTARTED") {
                    $0.processed = last
                    $0.batchLimit = 1
                }
                do {
                    for await batch in receiver.batches {
                        if failing.remove(batch.events[0].id.rawValue) != nil { throw Poison() }
                        processed += batch.events.map(\.id.rawValue)
                        await batch.confirm()
                        if processed.count >= 20 { break }
                    }
                } catch is Poison {}
                await receiver.stop()
            }
            #expect(processed == Array(1...20))
        }
    }
}
