import EventStream
import EventStreamClient
import Foundation
import PosixLoop
import TestSupport
import Testing

/// What an application does wrong is told at once, in words.
@Suite(.serialized) struct ClientMisuseTests {
    @Test(arguments: ["localhost:5571", "", "tcp://host"]) func anEndpointThatIsNoneIsAnErrorOfTheInitialiser(endpoint: String)
        async throws
    {
        var configuration = ReceiverConfiguration(endpoints: [endpoint])
        configuration.registers = false
        let errors: [(any Error)?] = [
            await #expect(throws: EventStreamError.self) { try await GeneratorClient([endpoint]) },
            await #expect(throws: EventStreamError.self) { try await PollClient(["tcp://127.0.0.1:1", endpoint]) },
            #expect(throws: EventStreamError.self) { try LiveReceiver(configuration) },
            #expect(throws: EventStreamError.self) { try ReliableReceiver("MINE", configuration) },
            #expect(throws: EventStreamError.self) { try ReliableReceiver("MINE", endpoint: endpoint, want: ["A"]) },
        ]
        for error in errors { #expect("\(error as Any)".contains("is no endpoint; one is like tcp://"), "\(error as Any)") }
    }

    @Test(arguments: ["", "bad name", "SEVENTEEN_LETTERS", "é", "a:b"]) func aNameThatIsNoneIsAnError(name: String) async throws {
        #expect(throws: EventStreamError.self) { try ReliableReceiver(name) }
        #expect(throws: EventStreamError.self) { try ReliableReceiver(name, want: ["A"]) }
        let poller = try await PollClient(["tcp://127.0.0.1:1"], timeout: .seconds(120))
        await #expect(throws: EventStreamError.self) { try await poller.registerConsumer(name) }
        await #expect(throws: EventStreamError.self) { try await poller.pollEvents(name, after: nil) }
        await #expect(throws: EventStreamError.self) { try await poller.pollEvents("LIVE", after: nil, want: [name]) }
        await poller.close()
    }

    @Test func callsAfterCloseFailAtOnceAndThoseUnderWayWithIt() async throws {
        let endpoint = "ipc://@evt-test-\(UInt64.random(in: 0...UInt64.max))"
        let generator = try await GeneratorClient([endpoint], timeout: .seconds(600))
        let poller = try await PollClient([endpoint], timeout: .seconds(600))
        let waiting = Task.immediate { try await generator.addEvent("A", RawJSON("1")) }
        await generator.close()
        await poller.close()
        for error in [
            await #expect(throws: EventStreamError.self) { try await waiting.value },
            await #expect(throws: EventStreamError.self) { try await generator.addEvent("A", RawJSON("1")) },
            await #expect(throws: EventStreamError.self) { try await generator.ping() },
            await #expect(throws: EventStreamError.self) { try await poller.pollEvents("LIVE", after: nil) },
        ] {
            #expect(error?.name == "CommError" && error?.text == "the client was closed; the call was not sent")
        }
        await generator.close()
    }

    @Test func aReceiverThatWasStoppedStaysStopped() async throws {
        let receiver = try ReliableReceiver("MINE", ReceiverConfiguration(endpoints: ["tcp://127.0.0.1:1"]))
        try await receiver.start()
        await receiver.stop()
        try await receiver.start()
        for await _ in receiver.batches { Issue.record("a batch") }
        await #expect(throws: EventStreamError.self) { try await receiver.lag(timeout: .seconds(600)) }
    }

    /// The server has not read it, and so cannot say which call its answer is to.
    @Test func aRequestThatIsTooLongIsAnsweredAtOnceAndThoseBesideItAreNotHarmed() async throws {
        try await Pipeline.with([.generator]) { pipeline in
            let generator = try await GeneratorClient([pipeline.generatorEndpoint], timeout: .seconds(600))
            let long = try RawJSON("\"\(String(repeating: "x", count: 70_000))\"")
            let alone = await #expect(throws: EventStreamError.self) { try await generator.addEvent("LONG", long) }
            #expect(alone?.name == "InvalidRequest" && alone?.text.contains("at most 65536") == true, "\(alone as Any)")
            let calls = try (0..<100).map { number in
                let data = try RawJSON([20, 50, 51, 99].contains(number) ? "\(long)" : "\(number)")
                return Task.immediate { try await generator.addEvent("MIXED", data) }
            }
            for (number, call) in calls.enumerated() {
                if [20, 50, 51, 99].contains(number) {
                    let error = await #expect(throws: EventStreamError.self) { try await call.value }
                    #expect(error?.text.contains("at most 65536") == true)
                } else {
                    _ = try await call.value
                }
            }
            #expect(try await pipeline.backlog() == 96)
            // What no stream takes is not even sent.
            let huge = try RawJSON("\"\(String(repeating: "x", count: 9 << 20))\"")
            let never = await #expect(throws: EventStreamError.self) { try await generator.addEvent("HUGE", huge) }
            #expect(never?.text == "the event has 9437186 bytes of data; at most 8384512 can be recorded")
            #expect(throws: EventStreamError.self) { try EventInsert(type: "HUGE", data: "\(huge)") }
        }
    }
}
