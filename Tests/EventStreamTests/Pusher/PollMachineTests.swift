import EventStream
import Testing

@testable import EventStreamPusher

/// A poll, from its turn to its answer.
@Suite struct PollMachineTests {
    private let generation = StreamGeneration(stream: "S", id: "2", start: 100)
    private let consumer = ConsumerIdentity(component: ConsumerComponent("A")!)

    private func stream(settled: EventID = 200, polledOut: EventID? = nil) -> PollMachine.Stream {
        .init(generation: generation, settled: settled, polledOut: polledOut)
    }

    private func poll(_ component: String = "A", after last: EventID?, generation: String? = nil) -> PollMachine {
        PollMachine(ConsumerComponent(component)!, after: last, generation: generation)
    }

    private func group(_ ids: [Int64], through: EventID) -> EventGroup {
        EventGroup(
            from: [page(after: 0, events(ids), through: through)], after: 0, want: .all, fields: [],
            limits: .init(events: 10, bytes: 10_000))
    }

    private func polled(_ position: EventID, isPaused: Bool = false, barrier: EventID? = nil) -> ConsumerStore.Polled {
        .init(position: position, isPaused: isPaused, barrier: barrier)
    }

    private func errorName(_ action: PollMachine.Action) -> String? {
        if case .answer(.failure(let error)) = action { error.name } else { nil }
    }

    @Test func `a poll confirms what it has and looks after what is stored`() {
        var poll = poll(after: 150)
        #expect(poll.freshened(true, in: stream()) == .confirm(through: 150))
        #expect(poll.stored(polled(160), consumer: consumer, in: stream()) == .read(after: 160, through: 200))
        let action = poll.read(group([170], through: 170), isWaitedFor: true, in: stream())
        guard case .answer(.success(let list)) = action else { return #expect(Bool(false)) }
        #expect(list.description.contains("\"170\""))
        #expect(poll.state == .over)
    }

    @Test func `a live poll confirms nothing and looks from where something may be`() {
        var poll = poll("LIVE", after: 150)
        #expect(poll.freshened(true, in: stream()) == .recall(after: 150))
        #expect(poll.begins(at: 190, in: stream()) == .read(after: 190, through: 200))
    }

    @Test func `without a database a poll fails`() {
        var poll = poll(after: nil)
        #expect(errorName(poll.freshened(false, in: stream())) == "InternalError")
    }

    @Test func `nothing beyond what is settled is confirmed`() {
        var poll = poll(after: 250)
        #expect(poll.freshened(true, in: stream()) == .findNewest(after: 200))
        #expect(poll.found(newest: 260, in: stream()) == .confirm(through: 200))
    }

    @Test(arguments: [nil, 240] as [EventID?])
    func `an id beyond the newest event is an error`(_ newest: EventID?) {
        var poll = poll(after: 250)
        _ = poll.freshened(true, in: stream())
        #expect(errorName(poll.found(newest: newest, in: stream())) == "InvalidRequest")
    }

    @Test func `an id of an earlier generation confirms nothing unless it was given out here`() {
        var poll = poll(after: 90)
        #expect(poll.freshened(true, in: stream()) == .confirm(through: 0))
        var known = self.poll(after: 90)
        #expect(known.freshened(true, in: stream(polledOut: 95)) == .confirm(through: 90))
        var named = self.poll(after: 90, generation: "2")
        #expect(named.freshened(true, in: stream()) == .confirm(through: 90))
    }

    @Test func `a poll of another generation is refused wherever it is`() {
        let over = poll(after: 1, generation: "1")
        #expect(over.refusal(in: stream())?.name == "InvalidRequest")
        var poll = poll(after: 150, generation: "2")
        _ = poll.freshened(true, in: stream())
        var next = stream()
        next.generation = StreamGeneration(stream: "S", id: "3", start: 1000)
        #expect(errorName(poll.stored(polled(150), consumer: consumer, in: next)) == "InvalidRequest")
    }

    @Test func `who is not registered gets an error`() {
        var poll = poll(after: nil)
        _ = poll.freshened(true, in: stream())
        #expect(errorName(poll.stored(nil, consumer: consumer, in: stream())) == "NotRegistered")
    }

    @Test func `a type that is rare is looked for in steps up to where the poll began`() {
        var poll = poll(after: 150)
        _ = poll.freshened(true, in: stream())
        _ = poll.stored(polled(150), consumer: consumer, in: stream())
        let later = stream(settled: 900)
        #expect(poll.read(group([], through: 180), isWaitedFor: true, in: later) == .read(after: 180, through: 200))
        #expect(
            poll.read(group([], through: 200), isWaitedFor: true, in: later)
                == .answer(.success(RawJSON(unchecked: Array("[]".utf8)))))
    }

    @Test func `nobody is looked for who does not wait`() {
        var poll = poll(after: 150)
        _ = poll.freshened(true, in: stream())
        _ = poll.stored(polled(150), consumer: consumer, in: stream())
        #expect(
            poll.read(group([], through: 180), isWaitedFor: false, in: stream())
                == .answer(.success(RawJSON(unchecked: Array("[]".utf8)))))
    }

    @Test func `what was settled after a poll asked is beyond a barrier that it has not seen`() {
        var poll = poll(after: 150)
        #expect(poll.freshened(true, in: stream()) == .confirm(through: 150))
        // The answer is late: meanwhile the consumer was cut, and more was recorded.
        #expect(poll.stored(polled(150), consumer: consumer, in: stream(settled: 900)) == .read(after: 150, through: 200))
    }

    @Test func `a poll gets nothing beyond a barrier`() {
        for (barrier, expected) in [
            (180, PollMachine.Action.read(after: 150, through: 180)), (900, .read(after: 150, through: 200)),
            (150, .answer(.success(RawJSON(unchecked: Array("[]".utf8))))),
            (0, .answer(.success(RawJSON(unchecked: Array("[]".utf8))))),
        ] as [(EventID, PollMachine.Action)] {
            var poll = poll(after: 150)
            _ = poll.freshened(true, in: stream())
            #expect(poll.stored(polled(150, barrier: barrier), consumer: consumer, in: stream()) == expected)
        }
    }

    @Test func `a poll of a consumer that is paused confirms and gets nothing`() {
        var poll = poll(after: 150)
        #expect(poll.freshened(true, in: stream()) == .confirm(through: 150))
        #expect(errorName(poll.stored(polled(150, isPaused: true), consumer: consumer, in: stream())) == "ConsumerPaused")
        #expect(poll.state == .over)
    }
}
