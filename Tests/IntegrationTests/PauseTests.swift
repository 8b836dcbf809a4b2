import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamPusher
import TestSupport
import Testing

/// An operator stops a consumer's delivery.
@Suite(.serialized) struct PauseTests {
    private func pause(_ consumer: String, _ isPaused: Bool, _ pipeline: Pipeline) async throws {
        try await TestDatabase.connected(to: TestDatabase.url(pipeline.active, as: .pusher)) { connection in
            try await ConsumerAdmin(try await StreamInfo.load(.standard, from: connection)).pause(
                "local:\(consumer)", isPaused, on: connection)
        }
    }

    @Test func `a consumer that is paused gets nothing and keeps its session, and goes on where it was`() async throws {
        try await Pipeline.with(configure: { $0.sessionTimeout = .seconds(5) }) { pipeline in
            try await pipeline.receiving("PAUSED", configure: { $0.sessionTimeout = .seconds(5) }) { paused in
                try await pipeline.record("BEFORE")
                try await eventually("the first") { await paused.count == 1 }
                try await pause("PAUSED", true, pipeline)
                // A second sign of life has been given after the first one was answered.
                let beat = try await beat(pipeline)
                try await eventually("the pause") { try await self.beat(pipeline) >= beat + 2 }
                try await pipeline.receiving("OTHER") { other in
                    let epoch = try await epoch(pipeline)
                    try await pipeline.record("MEANWHILE", ["1", "2", "3"])
                    try await eventually("the other") { await other.count == 4 }
                    #expect(await paused.count == 1)
                    try await pause("PAUSED", false, pipeline)
                    try await eventually("all of it") { await paused.count == 4 }
                    #expect(await paused.ids.map(\.rawValue) == [1, 2, 3, 4])
                    #expect(try await self.epoch(pipeline) == epoch)
                }
            }
        }
    }

    private func beat(_ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number("SELECT max(beat) FROM evt_queue_pushers", on: pipeline.active)
    }

    private func epoch(_ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number(
            "SELECT session_epoch FROM evt_consumers WHERE ident = 'local:PAUSED'", on: pipeline.active)
    }

    @Test func `a session that begins paused is answered, and a poll is refused`() async throws {
        try await Pipeline.with(configure: { $0.sessionTimeout = .seconds(5) }) { pipeline in
            let poller = try await pipeline.poller()
            try await poller.registerConsumer("PAUSED")
            try await pipeline.record("EVENT", ["1", "2"])
            #expect(try await poller.pollEvents("PAUSED", after: nil).count == 2)
            try await pause("PAUSED", true, pipeline)
            let error = await #expect(throws: EventStreamError.self) {
                try await poller.pollEvents("PAUSED", after: EventID(1))
            }
            #expect(error?.code == .consumerPaused)
            // What a poll confirms counts.
            #expect(try await pipeline.position(of: "PAUSED") == 1)
            try await pipeline.receiving("PAUSED", configure: { $0.sessionTimeout = .seconds(5) }) { paused in
                try await eventually("a session") {
                    try await TestDatabase.number(
                        "SELECT count(*) FROM evt_consumers WHERE ident = 'local:PAUSED' AND session_owner IS NOT NULL",
                        on: pipeline.active) == 1
                }
                #expect(await paused.count == 0)
                try await pause("PAUSED", false, pipeline)
                try await eventually("what follows") { await paused.count == 1 }
                #expect(await paused.ids.map(\.rawValue) == [2])
            }
        }
    }
}
