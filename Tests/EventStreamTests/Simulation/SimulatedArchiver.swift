import EventStream
import EventStreamDatabase

@testable import EventStreamArchiver
@testable import EventStreamClient

/// An archiver's process: keeps a session as other receivers do, and carries ``BatchMachine`` and ``ArchivePlan`` out on a
/// simulated warehouse.
final class SimulatedArchiver: SimulatedReceiver {
    private let warehouse: SimulatedWarehouse
    private let asker: SimulatedAsker
    private var plan: ArchivePlan
    private var connection: SimulatedConnection?
    /// The batch's, while one is out.
    private var machine: BatchMachine?
    private var batch: (events: [Event], origin: StreamOrigin?) = ([], nil)
    /// Work that uses the connection: one at a time, in the order it came.
    private var work: [(work: ArchivePlan.Work, completion: (Result<Int, Failure>) -> Void)] = []
    private var isAtWork = false
    private var look: Int?
    /// Whatever an earlier life began is nothing to this one.
    private var life = 0
    private var failure = Failure.other
    private var lastStep: ArchivePlan.Action?
    private var tokens = 0

    private enum Failure: Error {
        case pastGeneration
        case other
    }

    init(
        _ warehouse: SimulatedWarehouse, asking asker: SimulatedAsker, _ surroundings: Surroundings, _ oracle: Oracle,
        connect: @escaping (SimulatedClient, _ peer: Int, _ endpoint: Int) -> SimulatedLink
    ) {
        self.warehouse = warehouse
        self.asker = asker
        plan = ArchivePlan(want: oracle.consumers[warehouse.consumer].want, endpoints: 2)
        super.init(warehouse.consumer, mayKeepName: false, surroundings, oracle, connect: connect)
    }

    /// It wants the same for ever.
    override var want: EventFilter { oracle.consumers[consumer].want }

    /// It archives what is not discarded.
    override var start: StartPosition? { nil }

    // MARK: Lives

    override func started() {
        super.started()
        life += 1
        plan = ArchivePlan(want: oracle.consumers[consumer].want, endpoints: 2)
        connection?.abandon()
        (connection, machine, work, isAtWork) = (nil, nil, [], false)
        lookSoon()
    }

    override func disconnected() {
        super.disconnected()
        if !isDown { lookSoon() }
    }

    override func crash() {
        if !isDown { connection?.abandon() }
        super.crash()
    }

    override func sessionBegan() { lookSoon() }

    /// A completion that counts as long as this life lasts.
    private func mine<Value>(_ body: @escaping (Value) -> Void) -> (Value) -> Void {
        { [life] value in if life == self.life, !self.isDown { body(value) } }
    }

    // MARK: Looking after the warehouse

    private func lookSoon(in pause: Duration = .zero) {
        timers.cancel(look)
        look = timers.schedule(at: surroundings.now + pause) { [unowned self] in
            guard !self.isAtWork else { return self.lookSoon(in: .milliseconds(300)) }
            self.begin(.look(session: self.sessionNumber)) { [unowned self] _ in self.lookSoon(in: .milliseconds(300)) }
        }
    }

    // MARK: A batch

    override var isWaiting: Bool { machine != nil }

    override func process(_ batch: ReceiverProgress.Batch) {
        let machine = BatchMachine()
        (self.machine, self.batch) = (machine, (batch.events, batchOrigin))
        perform(machine.first)
    }

    private func perform(_ action: BatchMachine.Action?) {
        switch action {
        case .findSession: perform(machine?.found(session: sessionNumber))
        case .archive(let session):
            begin(.append(batch.events, of: batch.origin, session: session)) { [unowned self] result in
                switch result {
                case .success(let count): self.perform(self.machine?.archived(count))
                case .failure(.pastGeneration): self.perform(self.machine?.failed(.pastGeneration("the generation is over")))
                case .failure(.other): self.perform(self.machine?.failed(.other))
                }
            }
        case .pause:
            let next = mine { [unowned self] (_: Void) in self.perform(self.machine?.paused(isStopping: false)) }
            _ = timers.schedule(at: surroundings.now + surroundings.milliseconds(5...100)) { next(()) }
        case .compareGeneration:
            perform(machine?.compared(isPresent: origin?.generation == batch.origin?.generation))
        case .confirm: finish(isGood: true)
        case .reject: finish(isGood: false)
        case .moveOn:
            finish(isGood: false, isOver: false)
            reset()
            perform(machine?.left())
        case .next: machine = nil
        case .stop, nil: break
        }
    }

    private func finish(isGood: Bool, isOver: Bool = true) {
        if isOver { machine = nil }
        finished(isGood: isGood)
    }

    // MARK: The plan

    private func begin(_ work: ArchivePlan.Work, _ completion: @escaping (Result<Int, Failure>) -> Void) {
        self.work.append((work, mine(completion)))
        if !isAtWork { next() }
    }

    private func next() {
        guard let first = work.first else { return }
        isAtWork = true
        perform(plan.begin(first.work, isConnected: connection?.isOpen ?? false))
    }

    private func ended(_ result: Result<Int, Failure>) {
        isAtWork = false
        let completion = work.removeFirst().completion
        next()
        completion(result)
    }

    /// A step of the plan, over the connection.
    private func submit<Value>(
        _ execute: @escaping (SimulatedConnection) -> Value?, _ next: @escaping (Value) -> ArchivePlan.Action
    ) {
        guard let connection, connection.isOpen else { return fail() }
        let completion = mine { [unowned self] (value: Value?) in
            guard let value else { return self.fail() }
            self.perform(next(value))
        }
        connection.submit({ execute(connection) }, completion)
    }

    private func fail(_ failure: Failure = .other) {
        self.failure = failure
        perform(plan.failed())
    }

    private func perform(_ action: ArchivePlan.Action) {
        let warehouse = warehouse
        if case .fail = action {} else { lastStep = action }
        switch action {
        case .connect: open()
        case .takeLock: submit({ warehouse.takeLock($0) ? true : nil }, { [unowned self] _ in self.plan.lockTaken() })
        case .giveUpLock: submit({ warehouse.giveUpLock($0) }, { [unowned self] in self.plan.lockGivenUp() })
        case .readPosition:
            let known = plan.standing
            submit({ _ in warehouse.standing(knowing: known) }, { [unowned self] in self.plan.found($0) })
        case .introduce(let known): introduce(known: known)
        case .sign(let token, let known):
            submit({ _ in warehouse.sign(token, insteadOf: known) }, { [unowned self] _ in self.plan.signed() })
        case .ping: submit({ _ in () }, { [unowned self] in self.plan.pinged() })
        case .follow(let origin, let standing):
            submit({ _ in Optional.some(warehouse.follow(origin, from: standing)) }) { [unowned self] now in
                guard let now else {
                    self.failure = .pastGeneration
                    return self.plan.failed()
                }
                return self.plan.followed(now)
            }
        case .poll(let endpoint, let after, let generation): poll(endpoint, after: after, generation: generation)
        case .search(let first, let last, _):
            submit({ _ in warehouse.history.holdsAny(from: first, through: last) }, { [unowned self] in self.plan.searched($0) })
        case .copy(let copy):
            submit({ warehouse.append(copy, over: $0) }) { [unowned self] appended in
                switch appended {
                case .copied(let count, _): self.plan.copied(count)
                case .moved(let now): self.plan.moved(to: now)
                }
            }
        case .done(let count): ended(.success(count))
        case .fail(let refusal):
            surroundings.note(
                "archiver of \(peer): \(lastStep.map { "\($0)" } ?? "nothing") fails\(refusal.map { ": \($0)" } ?? "")")
            ended(.failure(refusal == nil ? failure : .other))
        }
    }

    private func open() {
        let (warehouse, known) = (warehouse, plan.standing)
        self.connection?.close()
        let connection = warehouse.connect()
        self.connection = connection
        connection.onLost = { [unowned self, number = connection.number] in
            if self.connection?.number == number { self.lookSoon() }
        }
        let completion = mine { [unowned self, weak connection] (found: HistoryStore.Standing?) in
            guard let found else {
                connection?.close()
                return self.fail()
            }
            self.perform(self.plan.connected(found))
        }
        connection.submit({ warehouse.begin(knowing: known) }, completion)
    }

    private func introduce(known: String?) {
        tokens += 1
        let token = "\(peer)-\(life)-\(tokens)"
        let completion = mine { [unowned self] (outcome: SimulatedLink.Outcome?) in
            if case .unknown = outcome { self.surroundings.broken("the database does not know the token \(known ?? "none")") }
            guard outcome?.isDone ?? false else { return self.fail() }
            self.perform(self.plan.introduced(as: token))
        }
        guard link != nil else { return fail() }
        call(.archive(component, known: known, token: token), completion)
    }

    /// What the answer to a poll lacks may have been discarded.
    private func askWhatIsDiscarded(after events: [Event]) {
        guard let token = plan.standing?.token else { return perform(plan.polled(events, discarded: .none)) }
        let completion = mine { [unowned self] (outcome: SimulatedLink.Outcome?) in
            guard case .done(let answer)? = outcome, let admission = ArchiveAdmission(answer) else {
                return self.perform(self.plan.pollFailed(isForbidden: false))
            }
            self.perform(self.plan.polled(events, discarded: admission.discarded))
        }
        guard link != nil else { return perform(plan.pollFailed(isForbidden: false)) }
        call(.archive(component, known: token, token: token), completion)
    }

    private func poll(_ endpoint: Int, after: EventID, generation: String?) {
        let completion = mine { [unowned self] (outcome: SimulatedLink.Outcome?) in
            guard case .done(let list)? = outcome, let rows = SimulatedEvent.rows(of: list.bytes) else {
                self.failure = .other
                self.asker.reset()
                return self.perform(self.plan.pollFailed(isForbidden: false))
            }
            self.askWhatIsDiscarded(after: rows.map { SimulatedEvent.event($0) })
        }
        asker.call(
            .pollEvents(
                .live, after: after == .none ? nil : after, want: want, fields: [], generation: generation),
            completion)
    }
}

/// Asks some pusher for events that a warehouse lacks.
final class SimulatedAsker: SimulatedClient {
    /// It is of the archiver's process: while that lives, it only loses its connection.
    override func crash() { reset() }
}
