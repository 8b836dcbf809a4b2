import EventStream

/// A receiver's process, life after life: keeps a session as `ReceiverEngine` does, and processes what it gets.
final class SimulatedReceiver {
    private enum State { case down, starting, ready }

    let consumer: Int
    private let surroundings: Surroundings
    private let oracle: Oracle
    private let batchLimit: Int
    /// Whether it names itself to the pusher, and so keeps its session over a reconnect. Such a receiver cannot begin to
    /// count anew with each connection, as the library's does; this one is told by every group which session it is of.
    private let tellsSessionsApart: Bool
    let timers = SimulatedTimers()
    /// Connects to a pusher, this one or whichever comes after it.
    var connect: (SimulatedReceiver, _ peer: Int, _ endpoint: Int) -> SimulatedLink
    private var state = State.down
    private var progress = ReceiverProgress()
    private(set) var link: SimulatedLink?
    private var peer = 0
    private var endpoint: Int
    private var lastRid = 0
    private var calls: [(rid: Int, timer: Int, completion: (SimulatedLink.Outcome?) -> Void)] = []
    private var session: Int64 = 0
    private var keepAlive: Int?
    private var retry: Int?
    private var failures = 0
    /// What is being processed, and whether that is done but for the report.
    private var batch: ReceiverProgress.Batch?
    private var isApplied = false
    /// The last event this life has processed.
    private var previous: Int64?
    /// Answers that have not been sent yet.
    private var answers: [(rid: UInt64, isGood: Bool)] = []

    init(
        _ consumer: Int, _ surroundings: Surroundings, _ oracle: Oracle,
        connect: @escaping (SimulatedReceiver, _ peer: Int, _ endpoint: Int) -> SimulatedLink
    ) {
        self.consumer = consumer
        self.surroundings = surroundings
        self.oracle = oracle
        self.connect = connect
        batchLimit = surroundings.random.pick(1...12)
        tellsSessionsApart = surroundings.chance(40)
        endpoint = surroundings.random.below(3)
        _ = timers.schedule(at: surroundings.now + surroundings.milliseconds(0...1500)) { [unowned self] in self.start() }
    }

    private var component: ConsumerComponent { SimulatedDatabase.identity(of: consumer).component }
    private var want: EventFilter { oracle.consumers[consumer].want }
    private var isExact: Bool { oracle.consumers[consumer].isExact }

    // MARK: Lives

    private func start() {
        (previous, session) = (nil, 0)
        progress = ReceiverProgress(processed: .none)
        if isExact, oracle.lastProcessed(by: consumer) > 0 {
            previous = oracle.lastProcessed(by: consumer)
            progress = ReceiverProgress(processed: EventID(oracle.lastProcessed(by: consumer)))
        }
        peer = surroundings.random.below(1 << 30)
        state = .starting
        open()
    }

    /// The process is killed, and started again after a while.
    func crash() {
        guard state != .down else { return }
        surroundings.note("receiver \(consumer) crashes")
        closeLink()
        state = .down
        timers.cancelAll()
        (calls, answers, batch) = ([], [], nil)
        _ = timers.schedule(at: surroundings.now + surroundings.milliseconds(0...400)) { [unowned self] in self.start() }
    }

    /// It ends its session, and begins another life.
    func stop() {
        guard state == .ready, batch == nil else { return }
        timers.cancel(keepAlive)
        call(.stopReceiving(component), timeout: .milliseconds(300)) { [unowned self] _ in self.crash() }
    }

    // MARK: The connection

    private func open() {
        if !tellsSessionsApart { peer = surroundings.random.below(1 << 30) }
        let link = connect(self, peer, endpoint)
        self.link = link
        // Nobody there, or somebody who does not shake hands: another may be.
        _ = timers.schedule(at: surroundings.now + .milliseconds(100)) { [unowned self] in
            guard self.link === link, !link.isUp else { return }
            self.closeLink()
            self.endpoint += 1
            self.openLater()
        }
    }

    private func openLater() {
        _ = timers.schedule(at: surroundings.now + .milliseconds(20)) { [unowned self] in self.open() }
    }

    private func closeLink() {
        link?.isCutByReceiver = true
        link?.toReceiver = []
        // What has been sent may still arrive, or a part of it.
        if let count = link?.toPusher.count, count > 0 { link?.toPusher.removeLast(surroundings.random.below(count + 1)) }
        link = nil
    }

    /// The handshake with the pusher is done.
    func connected() {
        guard state == .starting else { return }
        begin()
    }

    /// The connection is given up, and the next pusher is tried.
    func reset() {
        guard link != nil, state != .down else { return }
        closeLink()
        endpoint += surroundings.random.below(3)
        let failed = calls
        calls = []
        answers = []
        for call in failed {
            timers.cancel(call.timer)
            call.completion(nil)
        }
        guard state != .down else { return }
        timers.cancel(keepAlive)
        timers.cancel(retry)
        state = .starting
        openLater()
    }

    private func call(
        _ call: Call, timeout: Duration = .milliseconds(1500),
        _ completion: @escaping (SimulatedLink.Outcome?) -> Void
    ) {
        lastRid += 1
        let rid = lastRid
        let timer = timers.schedule(at: surroundings.now + timeout) { [unowned self] in
            guard let index = self.calls.firstIndex(where: { $0.rid == rid }) else { return }
            self.calls.remove(at: index).completion(nil)
        }
        calls.append((rid, timer, completion))
        link?.toPusher.append(.call(call, rid: rid))
    }

    // MARK: The session

    private func begin() {
        call(.registerConsumer(component)) { [unowned self] outcome in
            guard outcome?.isDone ?? false else { return self.failed(outcome) }
            self.getReady()
        }
    }

    private func getReady() {
        guard state == .starting else { return }
        call(.readyToReceive(component, want: want, precise: false)) { [unowned self] outcome in
            guard self.state == .starting else { return }
            guard outcome?.isDone ?? false else { return self.failed(outcome) }
            self.failures = 0
            self.state = .ready
            if !self.tellsSessionsApart { self.progress.sessionStarted() }
            self.scheduleKeepAlive()
        }
    }

    private func failed(_ outcome: SimulatedLink.Outcome?) {
        guard state == .starting, link != nil else { return }
        guard outcome != nil else { return reset() }
        failures += 1
        let isBusy = if case .busy? = outcome { true } else { false }
        let pause = isBusy ? Duration.milliseconds(60) : .milliseconds(10 << min(failures, 6))
        timers.cancel(retry)
        retry = timers.schedule(at: surroundings.now + pause) { [unowned self] in self.begin() }
    }

    private func scheduleKeepAlive() {
        timers.cancel(keepAlive)
        keepAlive = timers.schedule(at: surroundings.now + .milliseconds(400)) { [unowned self] in
            self.call(.readyToReceive(component, want: want, precise: false)) { [unowned self] outcome in
                guard self.state == .ready else { return }
                if outcome?.isDone ?? false { self.scheduleKeepAlive() } else { self.reset() }
            }
        }
    }

    // MARK: Messages

    func received(_ message: SimulatedLink.ToReceiver) {
        switch message {
        case .answer(let rid, let outcome):
            guard let index = calls.firstIndex(where: { $0.rid == rid }) else { return }
            let call = calls.remove(at: index)
            timers.cancel(call.timer)
            call.completion(outcome)
        case .events(let sequence, let rows, let rid, let session):
            guard state == .ready else { return answer([.server(rid)], isGood: false) }
            if tellsSessionsApart, session != self.session {
                progress.sessionStarted()
                self.session = session
            }
            let events = rows.map { SimulatedEvent.event($0) }
            switch progress.arrived(sequence: sequence, events: events, rid: .server(rid)) {
            case .kept: break
            case .answerAgain: answer([.server(rid)], isGood: true)
            case .refused: surroundings.broken("consumer \(consumer) refused seq \(sequence)")
            }
        }
    }

    private func answer(_ rids: [RequestID?], isGood: Bool) {
        guard link != nil else { return }
        for rid in rids.compactMap({ $0?.number }) { answers.append((rid, isGood)) }
        // The order of those that are not trusted is a dictionary's.
        if !isGood, rids.count > 1 { answers.sort { $0.rid < $1.rid } }
    }

    /// Whether the application or its answers have something to do.
    var hasWork: Bool { state != .down && (!answers.isEmpty || batch != nil || state == .ready) }

    /// The application goes on, or an answer is sent: in any order, now and then not at all, or twice.
    func step() {
        if !answers.isEmpty, surroundings.chance(60) {
            let answer = answers.remove(at: surroundings.trouble(20) ? surroundings.random.below(answers.count) : 0)
            guard !surroundings.trouble(2) else { return }
            link?.toPusher.append(.answer(rid: answer.rid, isGood: answer.isGood))
            if surroundings.trouble(2) { link?.toPusher.append(.answer(rid: answer.rid, isGood: answer.isGood)) }
            return
        }
        guard let batch else { return takeBatch() }
        if isApplied {
            self.batch = nil
            answer(progress.succeeded(), isGood: true)
        } else if surroundings.trouble(5) {
            self.batch = nil
            answer(progress.failed(), isGood: false)
        } else {
            surroundings.note("consumer \(consumer) processes \(batch.events.map(\.id))")
            for event in batch.events {
                oracle.processed(event.id.rawValue, by: consumer, after: previous)
                previous = event.id.rawValue
            }
            isApplied = true
        }
    }

    private func takeBatch() {
        isApplied = false
        while let next = progress.nextBatch(limit: batchLimit) {
            guard next.events.isEmpty else {
                batch = next
                break
            }
            // Nothing new in it: all was processed in an earlier session.
            answer(progress.succeeded(), isGood: true)
        }
        answer(progress.takeUntrusted(), isGood: false)
    }
}
