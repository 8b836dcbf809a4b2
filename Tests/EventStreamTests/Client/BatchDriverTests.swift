import EventStream
import TestSupport
import Testing

@testable import EventStreamClient

@Suite struct BatchDriverTests {
    /// What a driver did: answers by the number of the call, and timers that fire when told to.
    private final class World {
        var answers: [UInt64: Bool] = [:]
        var timers: [() -> Void] = []
        var batches: [[Int64]?] = []
        var generations: [String] = []
        let driver: BatchDriver

        init(gathering: Duration = .zero) {
            final class Box { weak var world: World? }
            let box = Box()
            var configuration = ReceiverConfiguration()
            configuration.gathering = gathering
            driver = BatchDriver(
                configuration, mayHaveGaps: false,
                .init(
                    answer: { rid, outcome in
                        box.world?.answers[rid?.number ?? 0] = if case .success = outcome { true } else { false }
                    },
                    schedule: { _, body in
                        guard let world = box.world else { return {} }
                        let index = world.timers.count
                        world.timers.append(body)
                        return { world.timers[index] = {} }
                    },
                    emit: { if case .newGeneration(let id) = $0 { box.world?.generations.append(id) } }))
            box.world = self
        }

        func arrive(_ sequence: UInt64, _ ids: ClosedRange<Int64>) throws {
            let list = events(ids).map { String(decoding: $0.json, as: UTF8.self) }.joined(separator: ",")
            let call = Array(
                #"{"f":"futoin.evt.receiver:1.1:onEvents","p":{"seq":\#(sequence),"events":[\#(list)]},"rid":"S\#(sequence + 10)"}"#
                    .utf8)
            try driver.received(#require(OnEvents(frame: call)))
        }

        func next() { driver.next(isReceiving: { true }) { self.batches.append($0?.events.map(\.id.rawValue)) } }
    }

    @Test func `what an earlier session has processed is confirmed although nobody asks for events`() throws {
        let world = World()
        world.next()
        try world.arrive(0, 1...3)
        world.driver.succeeded(3)
        world.answers = [:]
        _ = world.driver.sessionStarted()
        try world.arrive(1, 3...3)
        #expect(world.answers == [:])
        try world.arrive(0, 1...2)
        #expect(world.answers == [10: true, 11: true])
        try world.arrive(2, 3...4)
        #expect(world.answers.count == 2)
        world.next()
        #expect(world.batches == [[1, 2, 3], [4]])
    }

    @Test func `what comes again behind a batch that is out is confirmed with it`() throws {
        let world = World()
        world.next()
        try world.arrive(0, 1...2)
        _ = world.driver.sessionStarted()
        try world.arrive(0, 1...2)
        #expect(world.answers == [:])
        world.driver.succeeded(2)
        #expect(world.answers == [10: true])
    }

    @Test func `a batch that was not confirmed comes again`() throws {
        let world = World()
        world.next()
        try world.arrive(0, 1...2)
        #expect(world.batches == [[1, 2]])
        world.next()
        #expect(world.answers == [10: false])
        try world.arrive(0, 1...2)
        #expect(world.batches == [[1, 2], [1, 2]])
        world.driver.succeeded(2)
        #expect(world.answers == [10: true])
    }

    @Test func `after answers as many groups are gathered as were here before, or what came in time`() throws {
        let world = World(gathering: .milliseconds(1))
        try world.arrive(0, 1...2)
        try world.arrive(1, 3...4)
        world.next()
        #expect(world.batches == [[1, 2, 3, 4]])
        world.driver.succeeded(4)
        try world.arrive(2, 5...6)
        world.next()
        #expect(world.batches.count == 1)
        try world.arrive(3, 7...8)
        #expect(world.batches.last == [5, 6, 7, 8])
        world.driver.succeeded(4)
        try world.arrive(4, 9...10)
        world.next()
        #expect(world.batches.count == 2)
        world.timers.last?()
        #expect(world.batches.last == [9, 10])
    }

    @Test func `whoever waits for a batch gets none when another does, or at the end`() {
        let world = World()
        world.next()
        world.next()
        #expect(world.batches == [nil])
        world.driver.finish()
        #expect(world.batches == [nil, nil])
    }

    @Test(arguments: [true, false])
    func `the end waits for the batch that is out, and not for ever`(isReported: Bool) throws {
        let world = World()
        world.next()
        try world.arrive(0, 1...2)
        var ends = 0
        world.driver.whenReported(within: .seconds(2)) { ends += 1 }
        #expect(ends == 0 && world.driver.isAwaited)
        if isReported { world.driver.succeeded(2) } else { world.timers.last?() }
        #expect(ends == 1 && !world.driver.isAwaited)
        for timer in world.timers { timer() }
        #expect(ends == 1)
    }

    @Test func `another generation than the last one known takes nothing for processed`() throws {
        let world = World()
        let driver = world.driver
        func follow(_ id: String) {
            driver.follow(.init(generation: .init(stream: "s", id: id, start: .none), after: .none, common: .none))
        }
        var sessions: Set<Int> = []
        for id in ["a", "a", "b", "b"] {
            sessions.insert(driver.sessionStarted())
            follow(id)
            driver.follow(nil)
            #expect(driver.origin?.generation.id == id)
            world.next()
            try world.arrive(0, 1...2)
            driver.succeeded(2)
        }
        #expect(sessions.count == 4)
        #expect(world.batches == [[1, 2], nil, [1, 2]])
        #expect(world.generations == ["b"])
    }

    @Test func `a group too far ahead is refused`() {
        #expect(throws: EventStreamError.self) { try World().arrive(5000, 1...1) }
    }
}
