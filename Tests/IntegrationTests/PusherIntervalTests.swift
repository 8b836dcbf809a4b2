import EventStream
import EventStreamClient
import EventStreamPusher
import EventStreamServer
import TestSupport
import Testing

/// Pushers that mean to give signs of life at different intervals.
@Suite(.serialized) struct PusherIntervalTests {
    /// How often the pusher with this interval has given a sign of life.
    private func beats(_ interval: String, _ pipeline: Pipeline) async throws -> Int {
        try await TestDatabase.number("SELECT beat FROM evt_queue_pushers WHERE beat_interval = \(interval)", on: pipeline.active)
    }

    @Test func oneWithAShortTimeoutTakesNothingFromOneWithALongTimeout() async throws {
        try await Pipeline.with([]) { pipeline in
            let fast = Endpoints(["ipc://\(pipeline.directory)/fast"])
            try await pipeline.run([.pusher], configure: { $0.sessionTimeout = .seconds(60) }) {
                let served = try pipeline.receiver("SHARED") { $0.sessionTimeout = .seconds(60) }
                let first = try await pipeline.record("SHARED")
                let collected = Task { await Collector.collect(1, from: served) }
                #expect(await collected.value.map(\.id) == first)
                let owner = "SELECT session_owner, session_epoch FROM evt_consumers"
                let before = try await TestDatabase.rows(owner, on: pipeline.active)
                try await pipeline.run(
                    [.pusher],
                    configure: {
                        ($0.bind, $0.liveBind) = (fast, Endpoints([]))
                        $0.sessionTimeout = .seconds(1)
                    }
                ) {
                    let rival = try ReliableReceiver("SHARED", ReceiverConfiguration(endpoints: fast.list))
                    let taken = Task { await Collector.collect(1, from: rival) }
                    // More than ten times what it would wait for one of its own kind.
                    let seen = try await beats("0.2", pipeline)
                    try await eventually("many signs of life") { try await beats("0.2", pipeline) > seen + 15 }
                    #expect(try await TestDatabase.rows(owner, on: pipeline.active) == before)
                    let next = try await pipeline.record("SHARED")
                    let more = Task { await Collector.collect(1, from: served) }
                    #expect(await more.value.map(\.id) == next)
                    await served.stop()
                    let last = try await pipeline.record("SHARED")
                    #expect(await taken.value.map(\.id) == last)
                    await rival.stop()
                }
            }
        }
    }
}
