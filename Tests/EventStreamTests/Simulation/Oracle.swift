import EventStream

/// Knows everything that happened in a simulated world, and what must never happen.
final class Oracle {
    struct Consumer {
        /// The types it wants.
        let wanted: [Bool]
        /// Which slice of its consumer it is; nil for none.
        var slice: EventSlice?
        func wants(_ row: SimulatedQueue.Row) -> Bool {
            guard wanted[row.type] else { return false }
            return slice?.contains(EventSlice.number(of: (SimulatedEvent.key(of: row.id) ?? "\(row.id)").utf8)) ?? true
        }
        var want: EventFilter {
            wanted.allSatisfy(\.self) ? .all : EventFilter(Set(zip(SimulatedEvent.types, wanted).filter(\.1).map(\.0))) ?? .all
        }
        /// Whether it keeps what it has processed, with its effects, over a crash.
        let isExact: Bool
        /// The committed events it wants, in order.
        var events: [Int64] = []
        /// How many of them it has processed at least once; those discarded before it registered count.
        var processed = 0
        /// What was discarded before it registered. A pusher that still has some of it may deliver that, too.
        var start: Int64 = 0
        /// What was discarded when it registered last, in whatever generation: it may never have come.
        var discardedBefore: Int64 = 0
        /// Where the database that took over last had its position: an operator's step back from there may be lost with the other.
        var kept: Int64 = 0
        /// Where an operator has set its position last: what lies before that need not come, processed in an earlier life or not.
        var setTo: Int64 = 0
        /// The last event that was applied.
        var applied: Int64 = 0
        /// Whether it has heard of another generation and processed nothing since: it knows of nothing that it has processed.
        var forgot = false
        /// Where an operator has set the position since the last session began.
        var setBefore: Int64?
        /// Events that were parked at any time; and those of them that it has not processed since.
        var parked: Set<Int64> = []
        var owed: Set<SimulatedQueue.Row> = []
        /// Events that were processed at any time.
        var done: Set<SimulatedQueue.Row> = []
        /// When an operator registered it or set its position last; and how far events have been sent in sessions since then.
        var operatorEpoch: Int64 = 0
        var sent: Int64 = 0
        /// Nothing beyond it may come until it is cut into other slices.
        var barrier: Int64?
        /// The last barrier; sessions of up to this epoch send nothing beyond it, however late.
        var cut: (epoch: Int64, barrier: Int64) = (0, 0)
        /// The pusher that claimed it last.
        var owner: Int64 = 0
        var epoch: Int64 = 0
    }

    private let surroundings: Surroundings
    private(set) var consumers: [Consumer]
    private(set) var newestVisible: Int64 = 0
    /// Events that were committed, and were not there any more after a fail-over.
    private var lost: Set<SimulatedQueue.Row> = []
    /// Events that are committed, where somebody listens live.
    private var present: Set<SimulatedQueue.Row> = []
    private(set) var visible = 0

    init(_ surroundings: Surroundings, _ consumers: [Consumer]) {
        self.surroundings = surroundings
        self.consumers = consumers
    }

    private func index(after id: Int64, _ events: [Int64]) -> Int {
        guard let last = events.last, last > id else { return events.count }
        var (low, high) = (0, events.count)
        while low < high {
            let middle = (low + high) / 2
            if events[middle] <= id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    // MARK: The queue

    func becameVisible(_ row: SimulatedQueue.Row, _ stored: [SimulatedDatabase.Consumer], era: Int) {
        visible += 1
        newestVisible = max(newestVisible, row.id)
        if surroundings.live > 0 { present.insert(row) }
        for consumer in consumers.indices {
            if stored[consumer].position >= row.id {
                surroundings.broken("\(row.id) became visible when \(name(consumer))'s position was \(stored[consumer].position)")
            }
            guard consumers[consumer].wants(row) else { continue }
            let index = index(after: row.id, consumers[consumer].events)
            if index < consumers[consumer].processed {
                if lost.contains(row) {
                    // Prepared on the standby that took over, and committed a second time.
                    consumers[consumer].processed += 1
                } else if row.era < era {
                    // Prepared there, and rolled back on the server that is lost: what was processed later comes again after it.
                    consumers[consumer].processed = index
                } else {
                    surroundings.broken("\(row.id) became visible when \(name(consumer)) had processed later ones")
                }
            }
            consumers[consumer].events.insert(row.id, at: index)
        }
        lost.remove(row)
    }

    /// The database went back: what it lacks is lost, and what was confirmed later comes again.
    func wentBack(
        to rows: [SimulatedQueue.Row], from before: [SimulatedQueue.Row], _ stored: [SimulatedDatabase.Consumer],
        epoch: Int64
    ) {
        newestVisible = rows.last?.id ?? 0
        if surroundings.live > 0 { present = Set(rows) }
        lost.formUnion(Set(before).subtracting(rows))
        for consumer in consumers.indices {
            let position = max(stored[consumer].position, 0)
            let processed = consumers[consumer].processed
            let last = processed > 0 ? consumers[consumer].events[processed - 1] : 0
            consumers[consumer].events = rows.filter { consumers[consumer].wants($0) }.map(\.id)
            consumers[consumer].processed = index(after: last, consumers[consumer].events)
            consumers[consumer].start = min(consumers[consumer].start, position)
            consumers[consumer].kept = position
            // What was cut on the server that is lost may not be cut here.
            (consumers[consumer].barrier, consumers[consumer].cut) = (nil, (0, 0))
            consumers[consumer].owed = Set(stored[consumer].parked.map(\.row))
            (consumers[consumer].operatorEpoch, consumers[consumer].sent) = (epoch, position)
            (consumers[consumer].owner, consumers[consumer].epoch) = (stored[consumer].owner ?? 0, stored[consumer].epoch)
        }
    }

    /// Somebody holds everything up to this id for settled.
    func settled(_ id: Int64, _ queue: SimulatedQueue, _ what: @autoclosure () -> String) {
        let lowest = queue.lowestInFlight
        if id >= lowest { surroundings.broken("\(what()) is \(id) while \(lowest) may still become visible") }
    }

    func discarded(through id: Int64, _ stored: [SimulatedDatabase.Consumer]) {
        for consumer in consumers.indices where stored[consumer].isRegistered && !mayReadArchive(consumer) {
            if stored[consumer].position < id {
                surroundings.broken("\(id) was discarded, \(name(consumer)) has confirmed \(stored[consumer].position)")
            }
            if index(after: id, consumers[consumer].events) > consumers[consumer].processed {
                surroundings.broken("\(id) was discarded, and \(name(consumer)) has not processed all up to it")
            }
        }
    }

    /// What is discarded comes to it nevertheless.
    private func mayReadArchive(_ consumer: Int) -> Bool {
        surroundings.hasArchive && !(surroundings.archivers > 0 && consumer == SimulatedWarehouse.consumer)
    }

    // MARK: Live receivers

    /// Everything that has been committed by now: a live session that is asked for now does not bring it.
    var committed: Set<SimulatedQueue.Row> { surroundings.live > 0 ? present : [] }

    /// A live session has brought an event.
    ///
    /// - Parameters:
    ///   - before: what was committed before it was asked for: must not come.
    ///   - began: what was committed before the answer: need not come.
    ///   - previous: what came before it; nil if something was dropped between.
    func cameLive(
        _ row: SimulatedQueue.Row, wanted: [Bool], before: Set<SimulatedQueue.Row>, began: Set<SimulatedQueue.Row>,
        after previous: Int64?
    ) {
        guard !lost.contains(row) else { return }
        if before.contains(row) { surroundings.broken("\(row.id) came live, and was committed before the session was asked for") }
        guard let previous else { return }
        if previous >= row.id { surroundings.broken("\(row.id) came live after \(previous)") }
        let missing = present.filter { $0.id > previous && $0.id < row.id && wanted[$0.type] && !began.contains($0) }
        if let missing = missing.map(\.id).min() {
            surroundings.broken("\(row.id) came live after \(previous), and \(missing) did not")
        }
    }

    // MARK: Consumers

    func name(_ consumer: Int) -> String { "consumer \(consumer)" }

    func registered(_ consumer: Int, at position: Int64, epoch: Int64) {
        skipped(through: position, consumer)
        consumers[consumer].discardedBefore = max(consumers[consumer].discardedBefore, position)
        (consumers[consumer].operatorEpoch, consumers[consumer].sent) = (epoch, position)
        surroundings.note("\(name(consumer)) is registered at \(position)")
    }

    /// An operator sets a position: from there its events come again, whatever anybody knows of the sessions before.
    func set(_ consumer: Int, to position: Int64, epoch: Int64) {
        surroundings.note("the position of \(name(consumer)) is set to \(position)")
        skipped(through: position, consumer)
        consumers[consumer].setTo = position
        consumers[consumer].setBefore = position
        if consumers[consumer].forgot { consumers[consumer].applied = min(consumers[consumer].applied, position) }
        (consumers[consumer].operatorEpoch, consumers[consumer].sent) = (epoch, position)
        claimed(consumer, by: 0, epoch: epoch)
    }

    /// Nobody expects to get these any more.
    private func skipped(through id: Int64, _ consumer: Int) {
        let index = index(after: id, consumers[consumer].events)
        guard index > consumers[consumer].processed || consumers[consumer].start == 0 else { return }
        consumers[consumer].start = max(consumers[consumer].start, id)
        consumers[consumer].processed = max(consumers[consumer].processed, index)
    }

    func sent(_ id: Int64, to consumer: Int, epoch: Int64) {
        let cut = consumers[consumer].cut
        if epoch <= cut.epoch, epoch > 0, id > cut.barrier {
            surroundings.broken("\(name(consumer)) was sent \(id) in session \(epoch), which was to stop at \(cut.barrier)")
        }
        guard epoch > consumers[consumer].operatorEpoch else { return }
        consumers[consumer].sent = max(consumers[consumer].sent, id)
    }

    func claimed(_ consumer: Int, by pusher: Int64, epoch: Int64) {
        (consumers[consumer].owner, consumers[consumer].epoch) = (pusher, epoch)
        if pusher != 0 { consumers[consumer].setBefore = nil }
    }

    func stored(
        _ consumer: Int, from before: Int64, to position: Int64, by pusher: Int64, epoch: Int64, _ queue: SimulatedQueue
    ) {
        let (owner, present) = (consumers[consumer].owner, consumers[consumer].epoch)
        if (pusher, epoch) != (owner, present) {
            surroundings.broken(
                "pusher \(pusher) stored a position of \(name(consumer)) of epoch \(epoch); pusher \(owner) has it, epoch \(present)"
            )
        }
        if position < before { surroundings.broken("the position of \(name(consumer)) went from \(before) back to \(position)") }
        guard position != before else { return }
        surroundings.note("\(name(consumer)): position \(before) -> \(position) by pusher \(pusher)")
        settled(position, queue, "the position of \(name(consumer))")
        checkSent(consumer, through: position)
        if index(after: position, consumers[consumer].events) > consumers[consumer].processed {
            surroundings.broken(
                "the position of \(name(consumer)) is \(position), and \(consumers[consumer].events[consumers[consumer].processed])"
                    + " was not processed")
        }
    }

    // MARK: Parked events

    /// The event is set aside, and counts as done with.
    func parked(_ row: SimulatedQueue.Row, of consumer: Int) {
        surroundings.note("\(row.id) of \(name(consumer)) is parked")
        consumers[consumer].parked.insert(row.id)
        consumers[consumer].owed.insert(row)
        let index = index(after: row.id, consumers[consumer].events) - 1
        guard index >= 0, consumers[consumer].events[index] == row.id else {
            return surroundings.broken("\(row.id) of \(name(consumer)) was parked, which it does not want or nobody committed")
        }
        passParked(consumer)
    }

    func processedParked(_ row: SimulatedQueue.Row, by consumer: Int) {
        if !consumers[consumer].parked.contains(row.id) {
            surroundings.broken("\(name(consumer)) got \(row.id) as parked, and it was not")
        }
        checkOrder(row, by: consumer)
        if surroundings.parksKeys { consumers[consumer].done.insert(row) }
        consumers[consumer].owed.remove(row)
    }

    /// No earlier event of its key is parked.
    private func checkOrder(_ row: SimulatedQueue.Row, by consumer: Int) {
        guard surroundings.parksKeys, let key = SimulatedEvent.key(of: row.id) else { return }
        let (owed, done) = (consumers[consumer].owed, consumers[consumer].done)
        // One that was processed before comes again because an operator has set the position.
        let earlier = owed.first {
            $0.id < row.id && $0.era == row.era && !done.contains($0) && SimulatedEvent.key(of: $0.id) == key
        }
        if let earlier {
            surroundings.broken("\(name(consumer)) processed \(row.id) while \(earlier.id) of the same key is parked")
        }
    }

    /// What is parked is done with once everything before it is.
    private func passParked(_ consumer: Int) {
        let events = consumers[consumer].events
        while consumers[consumer].processed < events.count,
            consumers[consumer].parked.contains(events[consumers[consumer].processed])
        {
            consumers[consumer].processed += 1
        }
    }

    /// A row of a parked event is gone.
    func unparked(_ row: SimulatedQueue.Row, of consumer: Int) {
        guard consumers[consumer].owed.contains(row) else { return }
        surroundings.broken("\(row.id) of \(name(consumer)) is parked no more, and was not processed")
    }

    func removed(_ consumer: Int) {
        (consumers[consumer].owed, consumers[consumer].barrier, consumers[consumer].cut) = ([], nil, (0, 0))
    }

    /// - Parameter epoch: that of the newest session there is.
    func barrier(_ consumer: Int, at id: Int64?, epoch: Int64) {
        if let id {
            surroundings.note("\(name(consumer)) is to stop at \(id)")
            consumers[consumer].cut = (epoch, id)
        }
        consumers[consumer].barrier = id
    }

    /// A poller has confirmed what it was answered with before.
    func confirmed(_ consumer: Int, from before: Int64, to position: Int64, _ queue: SimulatedQueue) {
        surroundings.note("\(name(consumer)): position \(before) -> \(position) by a poll")
        settled(position, queue, "the position of \(name(consumer))")
        if index(after: position, consumers[consumer].events) > consumers[consumer].processed {
            surroundings.broken("the position of \(name(consumer)) is \(position), and not all up to it was processed")
        }
    }

    /// What was confirmed must have been sent since an operator has set the position.
    private func checkSent(_ consumer: Int, through position: Int64) {
        let (events, sent) = (consumers[consumer].events, consumers[consumer].sent)
        guard index(after: position, events) > index(after: sent, events) else { return }
        surroundings.broken(
            "the position of \(name(consumer)) is \(position), and since it was set events were sent up to \(sent) only")
    }

    /// - Parameters:
    ///   - previous: what this life of the receiver processed before; nil if this is its first.
    ///   - inOrderOfKeys: whether its pusher lets events wait behind a parked one of the same key.
    func processed(
        _ row: SimulatedQueue.Row, by consumer: Int, after previous: Int64?, inOrderOfKeys: Bool = false
    ) {
        let id = row.id
        if let previous, previous >= id { surroundings.broken("\(name(consumer)) processed \(id) after \(previous)") }
        // A pusher that has not noticed yet that the database went back delivers what was lost, too.
        guard !lost.contains(row) else { return }
        defer { if surroundings.parksKeys { consumers[consumer].done.insert(row) } }
        if let barrier = consumers[consumer].barrier, id > barrier {
            surroundings.broken("\(name(consumer)) processed \(id), and was to stop at \(barrier)")
        }
        let events = consumers[consumer].events
        let index = index(after: id, events) - 1
        guard index >= 0, events[index] == id else {
            return surroundings.broken("\(name(consumer)) processed \(id), which it does not want or nobody committed")
        }
        let start = consumers[consumer].start
        guard id > start else { return }
        if inOrderOfKeys { checkOrder(row, by: consumer) }
        if index > consumers[consumer].processed {
            surroundings.broken(
                "\(name(consumer)) processed \(id) and not \(events[consumers[consumer].processed])")
        }
        consumers[consumer].owed.remove(row)
        var before = index
        while before > 0, events[before - 1] > previous ?? .max, consumers[consumer].parked.contains(events[before - 1]) {
            before -= 1
        }
        if let previous, previous > start, has(previous, events), before == 0 || events[before - 1] != previous,
            index == 0
                || events[index - 1]
                    > max(consumers[consumer].kept, consumers[consumer].setTo, consumers[consumer].discardedBefore)
        {
            surroundings.broken("\(name(consumer)) processed \(id) after \(previous), and not what lies between")
        }
        if consumers[consumer].isExact, id <= consumers[consumer].applied {
            surroundings.broken("\(name(consumer)) applied \(id) twice")
        }
        consumers[consumer].applied = max(consumers[consumer].applied, id)
        consumers[consumer].forgot = false
        consumers[consumer].processed = max(consumers[consumer].processed, index + 1)
        passParked(consumer)
    }

    /// A receiver hears that the database went back, and forgets what it has of the time before.
    func heardOfGeneration(_ consumer: Int, after position: EventID) {
        let position = min(position.rawValue, consumers[consumer].setBefore ?? .max)
        consumers[consumer].applied = min(consumers[consumer].applied, position)
        consumers[consumer].forgot = true
    }

    private func has(_ id: Int64, _ events: [Int64]) -> Bool {
        let index = index(after: id, events) - 1
        return index >= 0 && events[index] == id
    }

    /// Where a receiver that keeps what it has processed goes on.
    func lastProcessed(by consumer: Int) -> Int64 { consumers[consumer].applied }

    /// What is still to be done; nil if every consumer has everything, and every position is at the end.
    func remainder(_ stored: [SimulatedDatabase.Consumer]) -> String? {
        for (consumer, known) in consumers.enumerated() {
            guard stored[consumer].isRegistered else { return "\(name(consumer)) is not registered" }
            if known.processed < known.events.count {
                return "\(known.events.count - known.processed) events never came to \(name(consumer)),"
                    + " the first is \(known.events[known.processed])"
            }
            if stored[consumer].position < newestVisible {
                return "the position of \(name(consumer)) stays at \(stored[consumer].position); the newest is \(newestVisible)"
            }
        }
        return nil
    }
}
