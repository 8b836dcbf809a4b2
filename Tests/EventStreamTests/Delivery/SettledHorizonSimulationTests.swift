import EventStream
import EventStreamPusher
import TestSupport
import Testing

/// The reader at the head of the stream, turn by turn, while writers do as they like.
@Suite struct SettledHorizonSimulationTests {
    private enum Order {
        /// The holders are looked at, then the rows are read.
        case holdersFirst
        /// The other way round: what must not be done.
        case rowsFirst
    }

    private struct World {
        var random: SplitMix
        var queue: SimulatedQueue
        var horizon = SettledHorizon(settled: .none)
        var delivered = 0
        var newest = EventID.none
        let order: Order
        let pageLimit: Int
        let looksInHundred: Int

        init(seed: UInt64, order: Order) {
            random = SplitMix(seed: seed)
            self.order = order
            pageLimit = random.pick(1...12)
            looksInHundred = random.pick(20...100)
            var habits = SimulatedQueue.Habits()
            habits.writers = random.pick(1...8)
            habits.preparesInHundred = random.chance(50) ? random.pick(5...60) : 0
            habits.rollbacksInHundred = random.pick(0...60)
            queue = SimulatedQueue(habits)
        }

        private mutating func othersGoOn(windingDown: Bool) {
            // Mostly little happens between two statements, now and then a lot.
            for _ in 0..<random.below(random.chance(25) ? 30 : 4) {
                if windingDown { queue.windDown(&random) } else { queue.step(&random) }
            }
        }

        /// One turn of the driver; what was broken, or nil.
        mutating func turn(windingDown: Bool = false) -> String? {
            var rows: [EventID]?
            if order == .rowsFirst { rows = queue.rows(after: horizon.settled, limit: pageLimit) }
            othersGoOn(windingDown: windingDown)
            if horizon.gap != nil, random.chance(looksInHundred) {
                // The statement's snapshot comes before its look at the locks.
                let newest = queue.committed.last.map { EventID($0.id) } ?? .none
                othersGoOn(windingDown: windingDown)
                let holders = queue.holders
                othersGoOn(windingDown: windingDown)
                guard horizon.holders(holders, newest: newest) else { return broken() }
                othersGoOn(windingDown: windingDown)
            }
            let read = rows ?? queue.rows(after: horizon.settled, limit: pageLimit)
            othersGoOn(windingDown: windingDown)
            for id in read.prefix(horizon.rows(read, at: start)) {
                guard id > newest else { return "\(id) came after \(newest)" }
                newest = id
                delivered += 1
            }
            return broken()
        }

        private func broken() -> String? {
            guard newest == horizon.settled || delivered == 0 else {
                return "settled up to \(horizon.settled), delivered up to \(newest)"
            }
            // Ids came in strict order, so an equal count means: each once, none skipped, nothing that was rolled back.
            let expected = queue.countCommitted(through: horizon.settled)
            return delivered == expected
                ? nil : "\(expected) events are committed up to \(horizon.settled), \(delivered) delivered"
        }

        /// What the world broke within so many turns, or at its end.
        mutating func run(turns: Int) -> String? {
            for _ in 0..<turns {
                if let broken = turn() { return broken }
                // A lost connection: what was learned of gaps and locks is gone.
                if random.chance(1) { horizon = SettledHorizon(settled: horizon.settled) }
            }
            while !queue.isQuiet { if let broken = turn(windingDown: true) { return broken } }
            for _ in 0..<(queue.committed.count - delivered + 200) { if let broken = turn(windingDown: true) { return broken } }
            return delivered == queue.committed.count ? nil : "\(queue.committed.count - delivered) events never came"
        }
    }

    @Test func everyCommittedEventIsDeliveredOnceAndInOrder() async {
        await Simulation.check(stepsEach: 100) { seed in
            var world = World(seed: seed, order: .holdersFirst)
            return world.run(turns: 100)
        }
    }

    @Test func lookingAtTheLocksAfterTheReadLosesEvents() {
        let losses = (0..<100 as Range<UInt64>).filter { seed in
            var world = World(seed: seed, order: .rowsFirst)
            return world.run(turns: 100) != nil
        }
        #expect(!losses.isEmpty)
    }
}
