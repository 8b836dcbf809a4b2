import EventStream
import EventStreamClient
import TestSupport

/// A receiver's process, life after life: keeps a session as `ReceiverEngine` does, and processes what it gets.
class SimulatedReceiver: SimulatedClient {
    private enum State { case starting, ready }

    let consumer: Int
    private let batchLimit: Int
    /// A receiver that keeps its session over a reconnect cannot begin to count anew with each connection, as the library's does;
    /// this one is told by every group which session it is of.
    private let tellsSessionsApart: Bool
    /// Whether it answers a group with what it has processed of it.
    private let answersPartly: Bool
    private var state = State.starting
    private var progress = ReceiverProgress()
    private var session: Int64 = 0
    private var sessions = 0
    /// The present session's number in this receiver's life; nil while there is none.
    var sessionNumber: Int? { state == .ready ? sessions : nil }
    /// What the session said last of the stream, and what it said when the batch was handed out.
    private(set) var origin: StreamOrigin?
    private(set) var batchOrigin: StreamOrigin?
    /// Which generation of the stream it knows, also in a later life if it keeps what it has processed.
    private var generation: String?
    private var wants = 0
    private var keepAlive: Int?
    private var retry: Int?
    private var failures = 0
    /// What is being processed, and whether that is done but for the report.
    private var batch: ReceiverProgress.Batch?
    private var isApplied = false
    /// Whether the batch that is out is of an earlier generation: it is processed to its end.
    private var isOfEarlier = false
    /// The last event this life has processed.
    private var previous: Int64?

    init(
        _ consumer: Int, mayKeepName: Bool = true, _ surroundings: Surroundings, _ oracle: Oracle,
        connect: @escaping (SimulatedClient, _ peer: Int, _ endpoint: Int) -> SimulatedLink
    ) {
        self.consumer = consumer
        batchLimit = surroundings.random.pick(1...12)
        tellsSessionsApart = mayKeepName && surroundings.chance(40)
        answersPartly = mayKeepName && surroundings.chance(50)
        super.init(surroundings, oracle, connect: connect)
    }

    var component: ConsumerComponent { SimulatedDatabase.identity(of: consumer).component }
    /// Now and then it says otherwise what it wants, which is another session.
    var want: EventFilter {
        let known = oracle.consumers[consumer].want
        return wants % 2 == 0
            ? known : EventFilter(Set((known.types ?? Set(SimulatedEvent.types)) + [EventType("NONE")!])) ?? known
    }
    private var isExact: Bool { oracle.consumers[consumer].isExact }
    override var keepsName: Bool { tellsSessionsApart }

    /// Each session begins with this.
    func sessionBegan() {}

    // MARK: Lives

    override func started() {
        (state, batch, previous, session) = (.starting, nil, nil, 0)
        if !isExact { generation = nil }
        progress = ReceiverProgress(processed: .none)
        if isExact, oracle.lastProcessed(by: consumer) > 0 {
            previous = oracle.lastProcessed(by: consumer)
            progress = ReceiverProgress(processed: EventID(oracle.lastProcessed(by: consumer)))
        }
    }

    /// It ends its session, and begins another life.
    func stop() {
        guard !isDown, state == .ready, batch == nil else { return }
        timers.cancel(keepAlive)
        call(.stopReceiving(component), timeout: .milliseconds(300)) { [unowned self] _ in self.crash() }
    }

    override func disconnected() {
        timers.cancel(keepAlive)
        timers.cancel(retry)
        state = .starting
    }

    override func connected() { if state == .starting { begin() } }

    // MARK: The session

    private func begin() {
        call(.registerConsumer(component.cut(nil), start: start, slices: component.slice?.count)) { [unowned self] outcome in
            guard outcome?.isDone ?? false else { return self.failed(outcome) }
            self.getReady()
        }
    }

    /// Where it begins if it is not registered.
    var start: StartPosition? {
        guard surroundings.hasArchive, surroundings.chance(30) else { return nil }
        return surroundings.chance(70) ? .first : .now
    }

    private var readyCall: Call {
        .readyToReceive(component, want: want, fields: [], origin: true, partial: answersPartly)
    }

    private func getReady() {
        guard state == .starting else { return }
        call(readyCall) { [unowned self] outcome in
            guard self.state == .starting else { return }
            guard outcome?.isDone ?? false else { return self.failed(outcome) }
            self.failures = 0
            self.state = .ready
            self.sessions += 1
            if !self.tellsSessionsApart { self.progress.sessionStarted() }
            self.follow(outcome)
            self.scheduleKeepAlive()
            self.sessionBegan()
        }
    }

    /// Where the database went back, ids that were processed may come again with other events.
    private func follow(_ outcome: SimulatedLink.Outcome?) {
        guard case .done(let answer)? = outcome, let origin = StreamOrigin(answer) else { return }
        if let generation, generation != origin.generation.id {
            surroundings.note("consumer \(consumer) hears of generation \(origin.generation)")
            progress.streamWentBack()
            (previous, isOfEarlier) = (nil, batch != nil)
            oracle.heardOfGeneration(consumer, after: origin.after)
        }
        generation = origin.generation.id
        self.origin = origin
    }

    private func failed(_ outcome: SimulatedLink.Outcome?) {
        guard state == .starting, link != nil else { return }
        guard let outcome else { return reset() }
        failures += 1
        let isBusy = if case .busy = outcome { true } else { false }
        let pause = isBusy ? Duration.milliseconds(60) : .milliseconds(10 << min(failures, 6))
        timers.cancel(retry)
        retry = timers.schedule(at: surroundings.now + pause) { [unowned self] in self.begin() }
    }

    private func scheduleKeepAlive() {
        timers.cancel(keepAlive)
        keepAlive = timers.schedule(at: surroundings.now + .milliseconds(400)) { [unowned self] in
            if self.surroundings.trouble(5) { self.wants += 1 }
            self.call(self.readyCall) { [unowned self] outcome in
                guard self.state == .ready else { return }
                guard outcome?.isDone ?? false else { return self.reset() }
                self.follow(outcome)
                self.scheduleKeepAlive()
            }
        }
    }

    // MARK: Groups

    override func received(_ call: SimulatedCall, session: Int64) {
        // A parked event that is refused does not come again under its number: what follows would be waited for in vain.
        guard state == .ready || call.isParked else { return answer([.server(call.rid)], .failed("not ready")) }
        if answersPartly, call.session == nil { surroundings.broken("consumer \(consumer) is not told the session") }
        if tellsSessionsApart, !answersPartly, session != self.session {
            progress.sessionStarted()
            self.session = session
        }
        let events = call.rows.map { SimulatedEvent.event($0) }
        switch progress.arrived(
            sequence: call.sequence, events: events, rid: .server(call.rid), session: call.session, isParked: call.isParked)
        {
        case .kept: break
        case .answerAgain: answer([.server(call.rid)], .processed)
        case .failedBefore: answer([.server(call.rid)], .failed("before"))
        case .refused: surroundings.broken("consumer \(consumer) refused seq \(call.sequence)")
        }
    }

    private func answer(_ rids: [RequestID?], _ answer: GroupAnswer) {
        guard link != nil else { return }
        for rid in rids.compactMap({ $0?.number }) { answers.append((rid, answer)) }
        // The order of those that are not trusted is a dictionary's.
        if answer != .processed, rids.count > 1 { answers.sort { $0.rid < $1.rid } }
    }

    override var hasWork: Bool { super.hasWork || (!isDown && (batch != nil ? !isWaiting : state == .ready)) }

    /// Whether the batch that is out waits for something else.
    var isWaiting: Bool { false }

    override func step() {
        if !answers.isEmpty, surroundings.chance(60) { return sendAnswer() }
        guard let batch else { return takeBatch() }
        if !isWaiting { process(batch) }
    }

    /// The batch that is out has been processed, or not.
    func finished(isGood: Bool) {
        over()
        answer(isGood ? progress.succeeded() : progress.failed(), isGood ? .processed : .failed("no"))
    }

    private func over() {
        batch = nil
        if isOfEarlier { (previous, isOfEarlier) = (nil, false) }
    }

    /// One event of the batch cannot be processed.
    private func stopped(at failed: EventID) {
        over()
        let stop = progress.stopped(at: failed)
        answer(stop.processed, .processed)
        if let (rid, through, failed) = stop.partly {
            answer([rid], .partly(through: through, failed: failed, error: "not this one"))
        }
        answer(stop.failed, .failed("no"))
    }

    func process(_ batch: ReceiverProgress.Batch) {
        if isApplied {
            if answersPartly, surroundings.chance(20) {
                answer(progress.succeeded(through: batch.events[surroundings.random.below(batch.events.count)].id), .processed)
            }
            finished(isGood: true)
        } else if surroundings.trouble(batch.isParked ? 50 : 5) {
            finished(isGood: false)
        } else if surroundings.maxAttempts > 0, !batch.isParked,
            let poison = batch.events.first(where: { $0.id.rawValue % 13 == 0 })
        {
            // It fails whenever it comes, until it comes as a parked one.
            guard answersPartly else { return finished(isGood: false) }
            apply(batch.events.filter { $0.id < poison.id })
            stopped(at: poison.id)
        } else if answersPartly, surroundings.trouble(10) {
            let failed = batch.events[surroundings.random.below(batch.events.count)].id
            apply(batch.events.filter { $0.id < failed })
            stopped(at: failed)
        } else {
            apply(batch.events)
            isApplied = true
        }
    }

    private func apply(_ events: [Event]) {
        surroundings.note("consumer \(consumer) processes \(events.map(\.id))")
        if batch?.isParked ?? false { return events.forEach { oracle.processedParked(SimulatedEvent.row($0), by: consumer) } }
        for event in events {
            oracle.processed(SimulatedEvent.row(event), by: consumer, after: previous, inOrderOfKeys: answersPartly)
            previous = event.id.rawValue
        }
        // Kept with the earlier generation, it says nothing of this one.
        if isOfEarlier, let origin { oracle.heardOfGeneration(consumer, after: origin.after) }
    }

    private func takeBatch() {
        isApplied = false
        while let next = progress.nextBatch(limit: batchLimit) {
            guard next.events.isEmpty else {
                (batch, batchOrigin) = (next, origin)
                break
            }
            // Nothing new in it: all was processed in an earlier session.
            answer(progress.succeeded(), .processed)
        }
        answer(progress.takeUntrusted(), .failed("not trusted"))
    }
}
