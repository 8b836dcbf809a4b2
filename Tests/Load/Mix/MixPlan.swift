import EventStream
import EventStreamDatabase
import EventStreamGenerator
import TestSupport

/// Chooses a writer's transactions at random; the same seed chooses the same ones.
struct MixPlan {
    private var random: SplitMix
    private let writer: Int
    private let weights: [(kind: MixTransaction.Kind, weight: Int)]
    /// Every kind comes once before chance decides, so that even a short run has the rare ones.
    private var first: [MixTransaction.Kind]
    private var drafts = 0

    /// - Parameter kinds: what may be chosen; not empty.
    init(seed: UInt64, writer: Int, kinds: Set<MixTransaction.Kind>) {
        self.writer = writer
        random = SplitMix(seed: seed &* 1_000_003 &+ UInt64(writer))
        weights = MixTransaction.Kind.allCases.filter(kinds.contains).map { ($0, MixPlan.weight(of: $0)) }
        first = weights.map(\.kind).shuffled(using: &random)
    }

    /// What holds the stream back for long is rare: a thousand transactions a second would have it stand still always.
    private static func weight(of kind: MixTransaction.Kind) -> Int {
        switch kind {
        case .single: 900
        case .several: 600
        case .paused: 400
        case .savepoints: 300
        case .copy, .select: 150
        case .jump: 40
        case .prepared, .terminated: 10
        case .long: 1
        }
    }

    mutating func next() -> MixTransaction {
        let kind = first.popLast() ?? pick(weights)
        let (steps, ending) = choose(kind)
        return MixTransaction(kind: kind, steps: steps, ending: ending)
    }

    private mutating func choose(_ kind: MixTransaction.Kind) -> ([MixTransaction.Step], MixTransaction.Ending) {
        switch kind {
        case .single: return ([.call(draft())], commitOrRollBack(alone: true))
        case .several:
            // Mostly few: with a hundred each, nothing else would be seen.
            return (adds(1...(chance(10) ? 100 : 10)), commitOrRollBack())
        case .paused: return (adds(1...5) + [.pause(milliseconds: within(0...20))] + adds(0...5), commitOrRollBack())
        case .long: return (adds(1...5) + [.pause(milliseconds: within(200...1000))] + adds(0...5), commitOrRollBack())
        case .savepoints:
            // None before the first: a rollback to it lets go of the table's lock as well.
            let steps = adds(0...2) + savepoint() + adds(0...2) + savepoint() + adds(0...2)
            return (steps, commitOrRollBack())
        case .prepared:
            let pause: [MixTransaction.Step] = chance(50) ? [.pause(milliseconds: within(0...20))] : []
            return (adds(1...10) + pause, .prepare(milliseconds: within(0...150), commits: chance(70)))
        case .copy:
            let copy = MixTransaction.Step.copy((0..<within(1...200)).map { _ in draft() })
            return chance(50) ? ([copy], commitOrRollBack(alone: true)) : (adds(0...2) + [copy] + adds(0...2), commitOrRollBack())
        case .select:
            let steps = [MixTransaction.Step.select(type(), count: within(1...100))]
            return (steps, commitOrRollBack(alone: true))
        case .jump:
            let jumps: [MixTransaction.Step] = [.skip(1), .skip(32), .jump(within(10_000...300_000))]
            return (adds(0...2) + [jumps[within(0...2)]] + adds(0...2), commitOrRollBack())
        case .terminated:
            let pause: [MixTransaction.Step] = chance(50) ? [.pause(milliseconds: within(0...20))] : []
            return (adds(1...20) + pause + [.terminate], .lost)
        }
    }

    private mutating func commitOrRollBack(alone: Bool = false) -> MixTransaction.Ending {
        chance(10) ? .rollBack : alone ? .alone : .commit
    }

    private mutating func adds(_ count: ClosedRange<Int>) -> [MixTransaction.Step] {
        (0..<within(count)).map { _ in chance(50) ? .call(draft()) : .insert(draft()) }
    }

    private mutating func savepoint() -> [MixTransaction.Step] {
        let end: [[MixTransaction.Step]] = [
            [.rollBackToSavepoint], [.releaseSavepoint], [.rollBackToSavepoint, .releaseSavepoint],
        ]
        return [.savepoint] + adds(1...5) + end[within(0...2)]
    }

    private mutating func draft() -> Recorder.Draft {
        drafts += 1
        // Letters only: nothing that COPY would have to escape.
        let text = String(repeating: "x", count: chance(1) ? within(1000...20_000) : within(0...200))
        let data = "{\"writer\":\(writer),\"number\":\(drafts),\"text\":\"\(text)\"}"
        return Recorder.Draft(type: type(), data: RawJSON(unchecked: Array(data.utf8)))
    }

    private mutating func type() -> EventType {
        pick([(EventType.mixOften, 60), (.mixSome, 25), (.mixOther, 14), (.mixRare, 1)])
    }

    private mutating func pick<Value>(_ weighted: [(Value, Int)]) -> Value {
        var left = within(0...(weighted.reduce(0) { $0 + $1.1 } - 1))
        for (value, weight) in weighted {
            left -= weight
            if left < 0 { return value }
        }
        return weighted[0].0
    }

    private mutating func chance(_ percent: Int) -> Bool { within(0...99) < percent }
    private mutating func within(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
}
