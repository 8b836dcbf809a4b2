import EventStream

/// A live receiver: gets what is recorded while it listens, in order; where it falls behind, a number is left out.
final class SimulatedLiveReceiver: SimulatedClient {
    private let wanted: [Bool]
    private let want: EventFilter
    private let component = ConsumerComponent("LIVE")!
    /// What was committed when the session was asked for, and when it was answered.
    private var before: Set<SimulatedQueue.Row> = []
    private var began: Set<SimulatedQueue.Row> = []
    /// The number of the group to come, and the last event before it; nil if something was left out.
    private var next: UInt64?
    private var previous: Int64?
    private var keepAlive: Int?
    private var origin: StreamOrigin?

    init(
        wanting wanted: [Bool], _ surroundings: Surroundings, _ oracle: Oracle,
        connect: @escaping (SimulatedClient, _ peer: Int, _ endpoint: Int) -> SimulatedLink
    ) {
        self.wanted = wanted
        want = Oracle.Consumer(wanted: wanted, isExact: false).want
        super.init(surroundings, oracle, connect: connect)
    }

    override func disconnected() {
        next = nil
        timers.cancel(keepAlive)
    }

    override func connected() {
        let before = oracle.committed
        call(.readyToReceive(component, want: want, fields: [], origin: true)) { [unowned self] outcome in
            guard case .done(let answer)? = outcome, let origin = StreamOrigin(answer) else { return self.reset() }
            (self.before, self.began) = (before, self.oracle.committed)
            (self.next, self.previous) = (0, origin.after.rawValue)
            self.origin = origin
            self.surroundings.note("a live session begins after \(origin.after)")
            self.scheduleKeepAlive()
        }
    }

    private func scheduleKeepAlive() {
        keepAlive = timers.schedule(at: surroundings.now + .milliseconds(400)) { [unowned self] in
            self.call(.readyToReceive(self.component, want: self.want, fields: [], origin: true)) { [unowned self] outcome in
                // One that has begun anew under the hand counts from 0 again: which of its groups have come by now, nobody knows.
                guard case .done(let answer)? = outcome, StreamOrigin(answer) == self.origin, self.next != nil else {
                    return self.reset()
                }
                // Before its first group one that has begun anew looks the same.
                if self.next == 0 { self.began = self.oracle.committed }
                self.scheduleKeepAlive()
            }
        }
    }

    override func received(_ call: SimulatedCall, session: Int64) {
        guard let next else { return }
        if call.sequence < next { surroundings.broken("a live session brings seq \(call.sequence) after \(next)") }
        if call.sequence != next { previous = nil }
        for row in call.rows {
            oracle.cameLive(row, wanted: wanted, before: before, began: began, after: previous)
            previous = row.id
        }
        self.next = call.sequence + 1
        answers.append((call.rid, surroundings.trouble(5) ? .failed("no") : .processed))
    }
}

/// A consumer that polls: what it was answered with it confirms with the next call.
final class SimulatedPoller: SimulatedClient {
    let consumer: Int
    private var last: EventID?
    /// The last event this life has processed.
    private var previous: Int64?

    init(
        _ consumer: Int, _ surroundings: Surroundings, _ oracle: Oracle,
        connect: @escaping (SimulatedClient, _ peer: Int, _ endpoint: Int) -> SimulatedLink
    ) {
        self.consumer = consumer
        super.init(surroundings, oracle, connect: connect)
    }

    private var component: ConsumerComponent { SimulatedDatabase.identity(of: consumer).component }

    override func started() { (last, previous) = (nil, nil) }

    override func connected() {
        call(.registerConsumer(component.cut(nil), slices: component.slice?.count)) { [unowned self] outcome in
            guard let outcome else { return self.reset() }
            if outcome.isDone { self.poll() } else { self.pause { [unowned self] in self.connected() } }
        }
    }

    private func pause(_ next: @escaping () -> Void) {
        _ = timers.schedule(at: surroundings.now + surroundings.milliseconds(5...60)) { [unowned self] in
            if self.link != nil { next() }
        }
    }

    private func poll() {
        let want = oracle.consumers[consumer].want
        call(.pollEvents(component, after: last, want: want, fields: [])) { [unowned self] outcome in
            guard let outcome else { return self.reset() }
            guard case .done(let list) = outcome, let rows = SimulatedEvent.rows(of: list.bytes) else {
                // What it confirms may be of an event that is lost; or an operator has removed it.
                if case .failed = outcome { (self.last, self.previous) = (nil, nil) }
                return self.pause { [unowned self] in self.connected() }
            }
            self.process(rows)
            self.pause { [unowned self] in self.poll() }
        }
    }

    private func process(_ rows: [SimulatedQueue.Row]) {
        guard let first = rows.first, let last = rows.last else { return }
        surroundings.note("consumer \(consumer) polls \(rows.map(\.id))")
        // What it has not confirmed comes again, as where an operator has set it back.
        if let previous, first.id <= previous { self.previous = nil }
        for row in rows {
            oracle.processed(row, by: consumer, after: previous)
            previous = row.id
        }
        self.last = EventID(last.id)
    }
}
