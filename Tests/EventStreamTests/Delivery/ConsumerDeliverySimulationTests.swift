import EventStream
import EventStreamPusher
import TestSupport
import Testing

/// A pusher's session with a receiver that loses, delays, repeats, refuses and invents.
@Suite struct ConsumerDeliverySimulationTests {
    private struct World {
        var random: SplitMix
        var delivery: ConsumerDelivery
        var now = start
        var nextRid: UInt64 = 1
        var calls: [(rid: UInt64, group: ConsumerDelivery.Group)] = []
        var answers: [(rid: UInt64, isGood: Bool)] = []
        /// What a sequence number stood for when it was first sent.
        var known: [UInt64: ConsumerDelivery.Group] = [:]
        var processed: Set<Int64> = []
        var wanted: Set<Int64> = []
        var confirmed: EventID = 0

        init(seed: UInt64) {
            random = SplitMix(seed: seed)
            let configuration = ConsumerDelivery.Configuration(requestMax: random.pick(1...6), ackTimeout: .seconds(30))
            delivery = ConsumerDelivery(after: 0, configuration: configuration)
        }

        mutating func take() {
            guard delivery.canTakeGroup else { return }
            let first = delivery.cursor.rawValue + Int64(random.pick(1...3))
            guard random.chance(80) else {
                if let position = delivery.passedOver(through: EventID(first)) { confirmed = max(confirmed, position) }
                return
            }
            let last = first + Int64(random.below(4))
            wanted.formUnion(first...last)
            let through = last + Int64(random.below(3))
            send(delivery.took(last: EventID(last), count: Int(last - first + 1), through: EventID(through), at: now))
        }

        mutating func send(_ group: ConsumerDelivery.Group) {
            guard random.chance(90) else { return delivery.postponed(group.sequence, until: now + .milliseconds(20)) }
            delivery.sent(group.sequence, rid: nextRid, at: now)
            if random.chance(90) { calls.append((nextRid, group)) }
            nextRid += 1
        }

        mutating func receiverActs() -> String? {
            guard !calls.isEmpty else { return nil }
            let (rid, group) = calls.remove(at: random.below(calls.count))
            if let first = known[group.sequence], (first.after, first.last, first.count) != (group.after, group.last, group.count)
            {
                return "group \(group.sequence) changed between two sends"
            }
            known[group.sequence] = group
            let isGood = random.chance(70)
            if isGood { processed.formUnion(wanted.filter { $0 > group.after.rawValue && $0 <= group.last.rawValue }) }
            for _ in 0..<random.pick(0...2) { answers.append((rid, isGood)) }
            return nil
        }

        mutating func answerArrives() -> String? {
            var answer = (rid: random.next(), isGood: true)
            if random.chance(95) {
                guard !answers.isEmpty else { return nil }
                answer = answers.remove(at: random.below(answers.count))
            }
            switch delivery.answered(answer.rid, answer.isGood ? .processed : .failed("no"), at: now) {
            case .confirmed(let position):
                if position <= confirmed { return "the position went from \(confirmed) to \(position)" }
                confirmed = position
            case .retry(_, let pause):
                if answer.isGood || pause <= .zero { return "a retry without a reason or a pause" }
            case .waiting, .unknown: break
            }
            return nil
        }

        mutating func step() -> String? {
            var broken: String?
            switch random.below(12) {
            case 0...3: take()
            case 4...6: broken = receiverActs()
            case 7...9: broken = answerArrives()
            case 10:
                if random.chance(20) {
                    calls = []
                    delivery.connectionLost(at: now)
                }
            default:
                now += .milliseconds(random.below(20_000))
                for group in delivery.due(at: now) { send(group) }
            }
            return broken ?? check()
        }

        func check() -> String? {
            if delivery.confirmed != confirmed { return "confirmed \(delivery.confirmed), reported \(confirmed)" }
            if delivery.confirmed > delivery.cursor { return "confirmed beyond the cursor" }
            if let lost = wanted.first(where: { $0 <= confirmed.rawValue && !processed.contains($0) }) {
                return "\(lost) is confirmed and was never processed"
            }
            if let due = delivery.due(at: now + .seconds(3600)).first, delivery.nextDeadline == nil {
                return "group \(due.sequence) is due, but there is no deadline"
            }
            return nil
        }

        /// An honest, quick receiver brings everything to an end.
        mutating func settle() -> String? {
            while let deadline = delivery.nextDeadline {
                now = max(now, deadline)
                for group in delivery.due(at: now) {
                    delivery.sent(group.sequence, rid: nextRid, at: now)
                    processed.formUnion(wanted.filter { $0 > group.after.rawValue && $0 <= group.last.rawValue })
                    answers = [(nextRid, true)]
                    if case .confirmed(let position) = delivery.answered(nextRid, .processed, at: now) { confirmed = position }
                    nextRid += 1
                }
            }
            return delivery.confirmed == delivery.cursor
                ? check() : "the stream ends at \(delivery.cursor), confirmed \(confirmed)"
        }
    }

    @Test func thePositionNeverPassesAnEventThatWasNotProcessed() async {
        await Simulation.check(stepsEach: 300) { seed in
            var world = World(seed: seed)
            for _ in 0..<300 { if let broken = world.step() { return broken } }
            return world.settle()
        }
    }
}
