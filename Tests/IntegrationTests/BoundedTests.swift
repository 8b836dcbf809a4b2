import EventStream
import EventStreamClient
import EventStreamPusher
import LibZMQ
import PosixLoop
import TestSupport
import Testing

/// What waits to be sent is bounded, and peers that do not take it disturb nobody else.
@Suite(.serialized) struct BoundedTests {
    /// Events of this type, half a megabyte each.
    private func recordLarge(_ count: Int, _ pipeline: Pipeline) async throws {
        try await TestDatabase.execute(
            "SELECT evt_add('LARGE', to_json(repeat('x', 500000))) FROM generate_series(1, \(count))", on: pipeline.active)
    }

    @Test func aSubscriberThatTakesNothingIsCutAndTheOthersMissNothing() async throws {
        try await Pipeline.with(configure: { $0.sendBytes = 4 << 20 }) { pipeline in
            let home = LoopActor()
            defer { home.loop.stop() }
            try await home.run { loop in
                let context = Context()
                let stuck = try Socket(.sub, in: context, options: [.receiveHighWaterMark(1), .subscribe([])])
                try stuck.connect(pipeline.liveEndpoint)
                let healthy = try Socket(.sub, in: context, options: [.receiveHighWaterMark(0), .subscribe([])])
                try healthy.connect(pipeline.liveEndpoint)
                var types: [String] = []
                let source = SocketSource(healthy) { types.append(String(decoding: $0.frames[0], as: UTF8.self)) }
                loop.add(source)
                defer { loop.remove(source) }
                while types.isEmpty {
                    try await pipeline.record("PROBE")
                    try? await eventually("a probe", within: .milliseconds(500)) { !types.isEmpty }
                }
                // Many times what may wait.
                for batch in 1...12 {
                    try await recordLarge(8, pipeline)
                    // On a busy machine this subscriber would be the slow one.
                    try await eventually("a batch") { types.filter { $0 == "LARGE" }.count >= batch * 8 }
                }
                try await pipeline.record("END")
                try await eventually("the end") { types.contains("END") }
                #expect(types.filter { $0 == "LARGE" }.count == 96)
            }
        }
    }

    @Test func aPeerThatDoesNotReadItsAnswersIsToldAndOthersAreServed() async throws {
        try await Pipeline.with(configure: { $0.sendBytes = 2 << 20 }) { pipeline in
            try await recordLarge(1, pipeline)
            let home = LoopActor()
            defer { home.loop.stop() }
            try await home.run { loop in
                let greedy = try Socket(.dealer, in: Context(), options: [.receiveHighWaterMark(1)])
                try greedy.connect(pipeline.pusherEndpoint)
                let call = #"{"f":"futoin.evt.poll:1.1:pollEvents","p":{"component":"LIVE"},"rid":"C1"}"#
                for _ in 0..<100 {
                    try await eventually("room for a call") { try greedy.send([Array(call.utf8)]) == .sent }
                }
                let poller = try await pipeline.poller()
                #expect(try await poller.pollEvents("LIVE", after: nil).count == 1)
                await poller.close()
                // All 100 are answered, some with events, the others with a word.
                var (lists, refusals) = (0, 0)
                while lists + refusals < 100 {
                    try await eventually("an answer") {
                        guard let answer = try greedy.receive() else { return false }
                        let text = String(decoding: answer.frames[0], as: UTF8.self)
                        if text.contains("too much waits") { refusals += 1 } else { lists += 1 }
                        return true
                    }
                }
                #expect(lists > 0)
                #expect(refusals > 0)
            }
        }
    }

    @Test(arguments: [1, 12]) func receiversThatTakeNothingDoNotKeepOthersFromCatchingUp(stuck count: Int) async throws {
        try await Pipeline.with(configure: { $0.sendBytes = 4 << 20 }) { pipeline in
            let poller = try await pipeline.poller()
            for number in 0..<count { try await poller.registerConsumer("STUCK\(number)") }
            try await poller.registerConsumer("QUICK")
            await poller.close()
            for _ in 0..<8 { try await recordLarge(8, pipeline) }
            let home = LoopActor()
            defer { home.loop.stop() }
            try await home.run { loop in
                var stuck: [Socket] = []
                for number in 0..<count {
                    let socket = try Socket(.dealer, in: Context(), options: [.receiveHighWaterMark(1)])
                    try socket.connect(pipeline.pusherEndpoint)
                    let call = """
                        {"f":"futoin.evt.push:1.1:readyToReceive","p":{"component":"STUCK\(number)","want":null},"rid":"C1"}
                        """
                    try await eventually("room for a call") { try socket.send([Array(call.utf8)]) == .sent }
                    stuck.append(socket)
                }
                let receiver = try pipeline.receiver("QUICK")
                #expect(await Collector.collect(64, from: receiver).count == 64)
                await receiver.stop()
            }
        }
    }

    @Test func anAnswerThatEvenInAWordFindsNoRoomIsDropped() async throws {
        try await Pipeline.with(configure: { $0.sendBytes = 1 << 20 }) { pipeline in
            let home = LoopActor()
            defer { home.loop.stop() }
            try await home.run { loop in
                let greedy = try Socket(.dealer, in: Context(), options: [.receiveHighWaterMark(1)])
                try greedy.connect(pipeline.pusherEndpoint)
                let rid = String(repeating: "r", count: 60_000)
                let call = #"{"f":"futoin.ping:1.0:ping","p":{"echo":1},"rid":"\#(rid)"}"#
                for _ in 0..<500 {
                    try await eventually("room for a call") { try greedy.send([Array(call.utf8)]) == .sent }
                }
                let poller = try await pipeline.poller()
                try await poller.registerConsumer("SERVED")
                await poller.close()
            }
        }
    }

    @Test func aFilterThatSeldomMatchesAdvancesOverABacklogAndFindsTheOne() async throws {
        try await Pipeline.with { pipeline in
            try await TestDatabase.execute(
                """
                INSERT INTO evt_queue (type, data) SELECT 'COMMON', '1' FROM generate_series(1, 1000);
                SELECT setval('evt_queue_id_seq', 1000000000000000);
                INSERT INTO evt_queue (type, data) SELECT 'COMMON', '1' FROM generate_series(1, 1000);
                SELECT evt_add('RARE', '1');
                """, on: pipeline.active)
            let poller = try await pipeline.poller()
            for component in ["PUSHED", "POLLED"] { try await poller.registerConsumer(component) }
            let receiver = try pipeline.receiver("PUSHED", want: ["RARE"])
            let found = await Collector.collect(1, from: receiver)
            #expect(found.map(\.type.description) == ["RARE"])
            #expect(try await poller.pollEvents("POLLED", after: nil, want: ["RARE"]) == found)
            #expect(try await poller.pollEvents("LIVE", after: nil, want: ["RARE"]) == found)
            #expect(try await poller.pollEvents("LIVE", after: nil, want: ["NEVER"]).isEmpty)
            #expect(try await poller.pollEvents("LIVE", after: nil, want: ["NEVER"]).isEmpty)
            let later = try await pipeline.record("NEVER")
            #expect(try await poller.pollEvents("LIVE", after: nil, want: ["NEVER"]).map(\.id) == later)
            try await pipeline.record("COMMON")
            // Positions go over what is unwanted.
            _ = try await poller.pollEvents("POLLED", after: later[0], want: ["RARE"])
            try await eventually("positions at the end") {
                let (pushed, polled) = (try await pipeline.position(of: "PUSHED"), try await pipeline.position(of: "POLLED"))
                return pushed == Int(later[0].rawValue) + 1 && polled == pushed
            }
            await receiver.stop()
            await poller.close()
        }
    }
}
