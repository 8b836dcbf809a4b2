import EventStream
import EventStreamClient
import EventStreamPusher
import TestSupport
import Testing

/// Polling: the seed's DBPollFace suite and its unit cases.
@Suite(.serialized) struct PollTests {
    @Test func pollsWithPositionsAndFilters() async throws {
        try await Pipeline.with { pipeline in
            try await pipeline.record("AB_C", ["null", "false", "\"dt\""])
            try await pipeline.record("X", ["1"])
            try await pipeline.record("XFER_EVT", ["123", "321"])
            let poller = try await pipeline.poller()
            try await poller.registerConsumer("T1")
            try await poller.registerConsumer("T1")
            let all = try await poller.pollEvents("T1", after: nil)
            #expect(all.map(\.id.rawValue) == [1, 2, 3, 4, 5, 6])
            #expect(all.map(\.data.description) == ["null", "false", "\"dt\"", "1", "123", "321"])
            #expect(try await poller.pollEvents("T1", after: EventID(1), want: ["AB_C"]).map(\.id.rawValue) == [2, 3])
            #expect(try await poller.pollEvents("T1", after: EventID(3), want: ["AB_C"]).isEmpty)
            #expect(try await poller.pollEvents("T1", after: EventID(3), want: ["AB_C"]).isEmpty)
            try await pipeline.record("AB_C")
            #expect(try await poller.pollEvents("T1", after: EventID(3), want: ["AB_C"]).count == 1)
            #expect(try await poller.pollEvents("T1", after: EventID(3), want: ["AB_C"]).count == 1)
            #expect(try await poller.pollEvents("T1", after: EventID(7), want: ["AB_C"]).isEmpty)
        }
    }

    @Test func aConsumerThatIsNotRegisteredIsToldSo() async throws {
        try await Pipeline.with { pipeline in
            let poller = try await pipeline.poller()
            let error = await #expect(throws: EventStreamError.self) { try await poller.pollEvents("T2", after: nil) }
            #expect(error?.name == "NotRegistered")
        }
    }

    @Test func aPollSeesWhatWasCommittedBeforeIt() async throws {
        try await Pipeline.with { pipeline in
            let poller = try await pipeline.poller()
            try await poller.registerConsumer("FRESH")
            var last: EventID?
            for _ in 0..<100 {
                let id = try await pipeline.record("FRESH")[0]
                let events = try await poller.pollEvents("FRESH", after: last)
                #expect(events.map(\.id) == [id])
                last = id
            }
        }
    }
}
