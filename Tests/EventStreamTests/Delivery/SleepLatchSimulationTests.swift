import EventStream
import EventStreamPusher
import TestSupport
import Testing

/// Writers and readers around one latch: nobody may sleep on an event that is there to be read.
@Suite struct SleepLatchSimulationTests {
    private struct Writer {
        var id: Int64
        /// Whether it got the latch shared; nil until it has tried.
        var isShared: Bool?
        var isVisible = false
    }

    private struct Reader {
        enum Phase {
            case latching(SleepLatch.LatchOperation)
            case reading(latched: Bool?)
            case answering(rows: Int, more: Bool, blocked: Bool, latched: Bool?)
            case pausing
            case sleeping
        }
        var latch: SleepLatch
        var phase = Phase.latching(.leave)
        var settled: Int64 = 0
        var notifications = 0

        var sleepsSoundly: Bool {
            if case .sleeping = phase { return notifications == 0 }
            return false
        }
    }

    private struct World {
        var random: SplitMix
        var writers: [Writer] = []
        var readers: [Reader]
        var committed: [Int64] = []
        var sequence: Int64 = 0
        var latchHolder: Int?
        /// The planted mistake: the rows are read before the latch is tried.
        let readsFirst: Bool
        let safetyPolls: Bool
        let reconnects: Bool
        var notified = 0

        init(seed: UInt64, readsFirst: Bool = false) {
            random = SplitMix(seed: seed)
            self.readsFirst = readsFirst
            let listeners = readsFirst ? 0 : random.below(3)
            safetyPolls = random.chance(50)
            reconnects = random.chance(listeners == 0 ? 50 : 0)
            readers = (0...listeners).map { Reader(latch: SleepLatch(.init(), role: $0 == 0 ? .waker : .listener)) }
            for index in readers.indices { follow(readers[index].latch.started(as: readers[index].latch.role), index) }
        }

        /// What a reader may deliver: committed, and no writer in flight has an earlier id.
        var deliverable: [Int64] {
            let lowest = writers.lazy.filter { !$0.isVisible }.map(\.id).min() ?? .max
            return committed.filter { $0 < lowest }
        }

        mutating func follow(_ action: SleepLatch.Action, _ reader: Int) {
            switch action {
            case .read(let operation):
                readers[reader].phase = readsFirst ? .reading(latched: nil) : .latching(operation)
                if readsFirst { operate(operation, reader, readAlready: true) }
            case .pause: readers[reader].phase = .pausing
            case .sleep: readers[reader].phase = .sleeping
            }
        }

        mutating func operate(_ operation: SleepLatch.LatchOperation, _ reader: Int, readAlready: Bool = false) {
            let rows = readAlready ? readRows(reader) : nil
            if readAlready { for _ in 0..<random.below(4) { writerStep() } }
            var latched: Bool?
            switch operation {
            case .leave: break
            case .release: if latchHolder == reader { latchHolder = nil }
            case .take:
                let free = (latchHolder ?? reader) == reader && !writers.contains { $0.isShared == true }
                if free { latchHolder = reader }
                latched = free
            }
            if let rows {
                readers[reader].phase = .answering(rows: rows.count, more: rows.more, blocked: rows.blocked, latched: latched)
            } else {
                readers[reader].phase = .reading(latched: latched)
            }
        }

        mutating func readRows(_ reader: Int) -> (count: Int, more: Bool, blocked: Bool) {
            let ready = deliverable.filter { $0 > readers[reader].settled }
            let page = ready.prefix(4)
            let blocked = committed.contains { $0 > (ready.last ?? readers[reader].settled) }
            readers[reader].settled = page.last ?? readers[reader].settled
            return (page.count, page.count < ready.count, blocked && page.count == ready.count)
        }

        mutating func notifyAll() {
            notified += 1
            for index in readers.indices { readers[index].notifications += 1 }
        }

        mutating func readerStep(_ reader: Int) {
            switch readers[reader].phase {
            case .latching(let operation): operate(operation, reader)
            case .reading(let latched):
                let rows = readRows(reader)
                readers[reader].phase = .answering(rows: rows.count, more: rows.more, blocked: rows.blocked, latched: latched)
            case .answering(let rows, let more, let blocked, let latched):
                // The one with the waking role passes on what it found.
                if rows > 0, reader == 0, readers.count > 1 { notifyAll() }
                follow(readers[reader].latch.didRead(foundRows: rows > 0, more: more, latched: latched, blocked: blocked), reader)
            case .pausing: if let action = readers[reader].latch.timerFired() { follow(action, reader) }
            case .sleeping:
                guard safetyPolls, random.chance(5), let action = readers[reader].latch.timerFired() else { return }
                follow(action, reader)
            }
        }

        mutating func writerStep() {
            guard !writers.isEmpty, random.chance(75) else {
                guard writers.count < 4 else { return }
                sequence += 1
                return writers.append(Writer(id: sequence))
            }
            let index = random.below(writers.count)
            if writers[index].isVisible {
                writers.remove(at: index)
            } else if let isShared = writers[index].isShared {
                guard !random.chance(15) else { return _ = writers.remove(at: index) }
                committed.append(writers[index].id)
                writers[index].isVisible = true
                if !isShared { notifyAll() }
            } else {
                writers[index].isShared = latchHolder == nil
            }
        }

        mutating func step() -> String? {
            let reader = random.below(readers.count)
            switch random.below(10) {
            case 0...3: writerStep()
            case 4...5 where readers[reader].notifications > 0:
                readers[reader].notifications -= 1
                if let action = readers[reader].latch.woken() { follow(action, reader) }
            case 6 where reconnects && random.chance(5):
                if latchHolder == reader { latchHolder = nil }
                readers[reader].notifications = 0
                follow(readers[reader].latch.started(as: readers[reader].latch.role), reader)
            default: readerStep(reader)
            }
            if committed.count > 40 { committed.removeFirst(committed.count - 40) }
            return broken
        }

        var broken: String? {
            guard readers.allSatisfy(\.sleepsSoundly) else { return nil }
            // One that still has to commit notifies if it could not get the latch; one that had it keeps readers awake.
            for reader in readers where committed.contains(where: { $0 > reader.settled }) {
                return "a reader sleeps on an event"
            }
            return latchHolder == 0 ? nil : "all readers sleep, and nobody has the latch"
        }
    }

    @Test func nobodySleepsOnACommittedEvent() async {
        await Simulation.check(stepsEach: 300) { seed in
            var world = World(seed: seed)
            for _ in 0..<300 { if let broken = world.step() { return broken } }
            return nil
        }
    }

    @Test func readingBeforeTheLatchIsTakenSleepsOnEvents() {
        let losses = (0..<100 as Range<UInt64>).filter { seed in
            var world = World(seed: seed, readsFirst: true)
            return (0..<300).contains { _ in world.step() != nil }
        }
        #expect(!losses.isEmpty)
    }
}
