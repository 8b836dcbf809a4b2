import EventStream
import TestSupport
import Testing

@testable import EventStreamRelay

@Suite struct RelayPlanTests {
    private typealias Action = RelayPlan.Action
    private let begin = MonotonicTime.now

    /// A plan with events of these keys, with ids from 1; "" for none.
    private func plan(_ keys: [String], requests: Int = 8, events: Int = 1) -> RelayPlan {
        var plan = RelayPlan(.init(requests: requests, events: events, bytes: 1000))
        plan.batchArrived(items(keys), generation: "A")
        return plan
    }

    private func items(_ keys: [String], from first: Int64 = 1, bytes: Int = 10) -> [RelayPlan.Item] {
        keys.enumerated().map {
            .init(id: EventID(first + Int64($0.offset)), key: $0.element.isEmpty ? nil : $0.element, bytes: bytes)
        }
    }

    /// All that is to be done now.
    private func actions(_ plan: inout RelayPlan, after pause: Duration = .zero) -> [Action] {
        var actions: [Action] = []
        while true {
            actions.append(plan.next(at: begin + pause))
            switch actions[actions.count - 1] {
            case .send, .confirm: continue
            case .wait, .finish, .reject, .leave: return actions
            }
        }
    }

    private func answer(_ plan: inout RelayPlan, _ events: [Int], _ outcome: SinkOutcome, after pause: Duration = .zero) {
        plan.answered(events, outcome, at: begin + pause, random: 0)
    }

    @Test func `other keys go out together, and one key in order`() {
        var plan = plan(["a", "b", "a", "", ""])
        #expect(actions(&plan) == [.send([0]), .send([1]), .send([3]), .wait(until: nil)])
        answer(&plan, [1], .taken)
        #expect(actions(&plan) == [.wait(until: nil)])
        answer(&plan, [0], .taken)
        #expect(actions(&plan) == [.confirm(through: 1), .send([2]), .wait(until: nil)])
        answer(&plan, [3], .taken)
        #expect(actions(&plan) == [.send([4]), .wait(until: nil)])
        answer(&plan, [4], .taken)
        answer(&plan, [2], .taken)
        #expect(actions(&plan) == [.finish])
    }

    @Test func `there are no more requests than may be`() {
        var plan = plan(["a", "b", "c"], requests: 2)
        #expect(actions(&plan) == [.send([0]), .send([1]), .wait(until: nil)])
        answer(&plan, [1], .taken)
        #expect(actions(&plan) == [.send([2]), .wait(until: nil)])
    }

    @Test func `a failure that passes is tried again after pauses that grow`() {
        var plan = plan(["a"])
        var at = Duration.zero
        for seconds in [0.5, 1, 2, 4, 8, 16, 32, 60, 60] {
            #expect(actions(&plan, after: at) == [.send([0]), .wait(until: nil)])
            answer(&plan, [0], .again(after: nil, because: "503"), after: at)
            #expect(actions(&plan, after: at) == [.wait(until: begin + at + .seconds(seconds))])
            at += .seconds(seconds)
        }
        #expect(actions(&plan, after: at) == [.send([0]), .wait(until: nil)])
        answer(&plan, [0], .taken, after: at)
        #expect(actions(&plan, after: at) == [.finish])
        plan.batchArrived(items(["a"], from: 2), generation: "A")
        _ = actions(&plan, after: at)
        answer(&plan, [0], .again(after: nil, because: "503"), after: at)
        #expect(actions(&plan, after: at) == [.wait(until: begin + at + .seconds(0.5))])
    }

    @Test func `one failure delays its key, and another one everything`() {
        var plan = plan(["a", "b", "c", "d"], requests: 3)
        _ = actions(&plan)
        answer(&plan, [0], .again(after: nil, because: ""))
        #expect(actions(&plan) == [.send([3]), .wait(until: nil)])
        answer(&plan, [1], .again(after: nil, because: ""), after: .milliseconds(100))
        #expect(actions(&plan, after: .milliseconds(600)) == [.wait(until: begin + .milliseconds(1100))])
        // What was under way together fails together, and counts once.
        answer(&plan, [2], .again(after: nil, because: ""), after: .milliseconds(200))
        answer(&plan, [3], .again(after: nil, because: ""), after: .milliseconds(300))
        #expect(actions(&plan, after: .milliseconds(600)) == [.wait(until: begin + .milliseconds(1100))])
        #expect(actions(&plan, after: .milliseconds(1100)) == [.send([0]), .send([1]), .send([2]), .wait(until: nil)])
        answer(&plan, [0], .taken, after: .milliseconds(1200))
        answer(&plan, [1], .again(after: nil, because: ""), after: .milliseconds(1200))
        #expect(
            actions(&plan, after: .milliseconds(1200)) == [
                .confirm(through: 0), .send([3]), .wait(until: begin + .milliseconds(1700)),
            ])
    }

    @Test func `what the endpoint asks for goes before the pause there would be`() {
        var plan = plan(["a"])
        _ = actions(&plan)
        answer(&plan, [0], .again(after: .seconds(100), because: "429"))
        #expect(actions(&plan) == [.wait(until: begin + .seconds(100))])
    }

    @Test func `an event that is refused is rejected when those before it are done and nothing is under way`() {
        var plan = plan(["a", "b", "c", "d"], requests: 3)
        _ = actions(&plan)
        answer(&plan, [1], .refused("422"))
        // The fourth is not begun.
        #expect(actions(&plan) == [.wait(until: nil)])
        answer(&plan, [0], .again(after: nil, because: "503"))
        #expect(actions(&plan, after: .seconds(1)) == [.send([0]), .wait(until: nil)])
        answer(&plan, [0], .taken)
        #expect(actions(&plan) == [.confirm(through: 0), .wait(until: nil)])
        answer(&plan, [2], .taken)
        #expect(actions(&plan) == [.reject(1, "422")])
    }

    @Test func `what was taken beyond a rejected event is not sent again`() {
        var plan = plan(["a", "b", "c", "a"])
        _ = actions(&plan)
        answer(&plan, [2], .taken)
        answer(&plan, [1], .taken)
        answer(&plan, [0], .refused("400"))
        #expect(actions(&plan) == [.reject(0, "400")])
        // It comes alone first.
        plan.batchArrived(items(["a"]), generation: "A")
        #expect(actions(&plan) == [.send([0]), .wait(until: nil)])
        answer(&plan, [0], .taken)
        #expect(actions(&plan) == [.finish])
        plan.batchArrived(items(["b", "c", "a"], from: 2), generation: "A")
        #expect(actions(&plan) == [.confirm(through: 1), .send([2]), .wait(until: nil)])
    }

    @Test func `a new generation has other events under the same ids`() {
        var plan = plan(["a", "b"])
        _ = actions(&plan)
        answer(&plan, [1], .taken)
        answer(&plan, [0], .refused("400"))
        #expect(actions(&plan) == [.reject(0, "400")])
        plan.batchArrived(items(["a", "b"]), generation: "B")
        #expect(actions(&plan) == [.send([0]), .send([1]), .wait(until: nil)])
    }

    @Test func `a parked event is sent again, although it was taken`() {
        var plan = plan(["a", "b"])
        _ = actions(&plan)
        answer(&plan, [1], .taken)
        answer(&plan, [0], .refused("400"))
        #expect(actions(&plan) == [.reject(0, "400")])
        plan.batchArrived(items(["b"], from: 2), isParked: true, generation: "A")
        #expect(actions(&plan) == [.send([0]), .wait(until: nil)])
        answer(&plan, [0], .taken)
        #expect(actions(&plan) == [.finish])
        plan.batchArrived(items(["a", "b"]), generation: "A")
        #expect(actions(&plan) == [.send([0]), .wait(until: nil)])
    }

    @Test func `the first of several refused events is rejected`() {
        var plan = plan(["a", "b", "c"])
        _ = actions(&plan)
        answer(&plan, [2], .refused("third"))
        answer(&plan, [1], .refused("second"))
        answer(&plan, [0], .taken)
        #expect(actions(&plan) == [.confirm(through: 0), .reject(1, "second")])
    }

    @Test func `while it stands still one request a minute asks`() {
        var plan = plan(["a", "b"])
        _ = actions(&plan)
        answer(&plan, [0], .standStill(because: "404"))
        answer(&plan, [1], .standStill(because: "404"))
        #expect(plan.standing == "404")
        #expect(actions(&plan) == [.wait(until: begin + .seconds(60))])
        #expect(actions(&plan, after: .seconds(60)) == [.send([0]), .wait(until: nil)])
        answer(&plan, [0], .taken, after: .seconds(60))
        #expect(plan.standing == nil)
        #expect(actions(&plan, after: .seconds(60)) == [.confirm(through: 0), .send([1]), .wait(until: nil)])
    }

    @Test func `a batch that is abandoned is left when nothing is under way`() {
        var plan = plan(["a", "b", "a"], requests: 2)
        _ = actions(&plan)
        plan.abandon()
        answer(&plan, [0], .taken)
        #expect(actions(&plan) == [.confirm(through: 0), .wait(until: nil)])
        answer(&plan, [1], .again(after: nil, because: "503"))
        #expect(actions(&plan) == [.leave])
    }

    @Test func `several events go out together, and one by one when they are refused`() {
        var plan = plan(["a", "a", "b", "c"], requests: 2, events: 3)
        #expect(actions(&plan) == [.send([0, 1, 2]), .send([3]), .wait(until: nil)])
        answer(&plan, [0, 1, 2], .refused("400"))
        answer(&plan, [3], .taken)
        #expect(actions(&plan) == [.send([0]), .send([2]), .wait(until: nil)])
        answer(&plan, [0], .taken)
        #expect(actions(&plan) == [.confirm(through: 0), .send([1]), .wait(until: nil)])
        answer(&plan, [1], .refused("this one"))
        answer(&plan, [2], .taken)
        #expect(actions(&plan) == [.reject(1, "this one")])
    }

    @Test func `a request has no more bytes than it may, but for an event that alone has`() {
        var plan = RelayPlan(.init(requests: 1, events: 100, bytes: 100))
        plan.batchArrived(items(["a", "b"], bytes: 60) + items(["c"], from: 3, bytes: 200), generation: "A")
        for index in 0..<3 {
            _ = index == 0 ? plan.next(at: begin) : plan.next(at: begin)
            answer(&plan, [index], .taken)
            guard index < 2 else { break }
            #expect(plan.next(at: begin) == .confirm(through: index))
        }
        #expect(actions(&plan) == [.finish])
    }

    /// A world in which everything may happen: what the endpoint takes is in order for each key, complete, and sent twice only where
    /// the answer was lost.
    @Test(arguments: 0..<200) func `whatever the endpoint answers, events are taken in order, and confirmed when taken`(
        _ seed: Int
    ) {
        var random = SplitMix(seed: UInt64(seed))
        var plan = RelayPlan(
            .init(requests: random.pick(1...5), events: random.pick(1...4), bytes: random.pick(10...100)))
        let keys = ["", "a", "b", "c"]
        let events = items((0..<60).map { _ in keys[random.below(4)] })
        let poison: Set<Int64> = Set((0..<random.below(4)).map { _ in Int64(random.pick(1...60)) })
        var parked: Set<Int64> = []
        var failures: [Int64: Int] = [:]
        var took: [String: [Int64]] = [:]
        var sent: [Int64: Int] = [:]
        var lost: [Int64: Int] = [:]
        var now = begin
        var position = 0
        while position < events.count {
            let batch = Array(events[position..<min(events.count, position + random.pick(1...20))])
            plan.batchArrived(batch, generation: "A")
            var underWay: [[Int]] = []
            var isOver = false
            while !isOver {
                switch plan.next(at: now) {
                case .send(let indices):
                    let busy = Set(underWay.joined().map { batch[$0].key })
                    #expect(!indices.contains { busy.contains(batch[$0].key) })
                    underWay.append(indices)
                    #expect(underWay.count <= plan.limits.requests)
                case .confirm(let through):
                    for item in batch[...through] { #expect(took[item.key ?? ""]?.contains(item.id.rawValue) ?? false) }
                case .finish:
                    for item in batch { #expect(took[item.key ?? ""]?.contains(item.id.rawValue) ?? false) }
                    position += batch.count
                    isOver = true
                case .reject(let index, _):
                    #expect(underWay.isEmpty)
                    let id = batch[index].id.rawValue
                    #expect(poison.contains(id))
                    for item in batch[..<index] { #expect(took[item.key ?? ""]?.contains(item.id.rawValue) ?? false) }
                    failures[id, default: 0] += 1
                    position += index
                    if failures[id]! == 3 {
                        parked.insert(id)
                        position += 1
                    }
                    isOver = true
                case .leave:
                    #expect(underWay.isEmpty)
                    isOver = true
                case .wait(let until):
                    guard !underWay.isEmpty else {
                        // A pause, and nothing else, is waited for.
                        now = until!
                        continue
                    }
                    if random.oneIn(200) { plan.abandon() }
                    let indices = underWay.remove(at: random.below(underWay.count))
                    let ids = indices.map { batch[$0].id.rawValue }
                    let outcome: SinkOutcome
                    if random.chance(30) {
                        let isLost = random.chance(30)
                        if isLost, poison.isDisjoint(with: ids) { for index in indices { take(batch[index], isLost: true) } }
                        outcome = random.chance(20) ? .standStill(because: "404") : .again(after: nil, because: "503")
                    } else if !poison.isDisjoint(with: ids) {
                        outcome = .refused("400")
                    } else {
                        for index in indices { take(batch[index], isLost: false) }
                        outcome = .taken
                    }
                    plan.answered(indices, outcome, at: now)
                }
            }
        }
        func take(_ item: RelayPlan.Item, isLost: Bool) {
            let id = item.id.rawValue
            sent[id, default: 0] += 1
            if isLost { lost[id, default: 0] += 1 }
            if took[item.key ?? ""]?.contains(id) != true { took[item.key ?? "", default: []].append(id) }
        }
        for key in keys {
            #expect(took[key] ?? [] == events.filter { ($0.key ?? "") == key }.map(\.id.rawValue).filter { !poison.contains($0) })
        }
        #expect(parked == poison)
        for (id, count) in sent { #expect(count - (lost[id] ?? 0) <= 1, "\(id)") }
    }
}
