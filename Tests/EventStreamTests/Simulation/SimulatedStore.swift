import EventStream

/// The pusher's database work besides the tail, as `PusherStore` does it, in the same order.
final class SimulatedStore {
    private let surroundings: Surroundings
    private let database: SimulatedDatabase
    private let timers: SimulatedTimers
    private let sessionTimeout: Duration
    let work: SimulatedKeeper
    let reading: SimulatedKeeper
    private var book = PositionBook()
    private var flushTimer: Int?
    private var beatTimer: Int?
    private var beats: [(pusher: Int64, beat: Int64, seen: MonotonicTime)] = []
    private var lastBeat: MonotonicTime?
    let pusher: Int64

    var onFenced: (Int, Int64) -> Void = { _, _ in }
    var onDeclaredDead: () -> Void = {}
    var onReady: () -> Void = {}
    var onOthers: (Bool) -> Void = { _ in }
    var settled: () -> EventID = { .none }
    var sessions: () -> [(consumer: Int, epoch: Int64)] = { [] }
    var isServed: (Int) -> Bool = { _ in true }

    init(
        _ surroundings: Surroundings, _ database: SimulatedDatabase, _ timers: SimulatedTimers, pusher: Int64,
        sessionTimeout: Duration
    ) {
        self.surroundings = surroundings
        self.database = database
        self.timers = timers
        self.pusher = pusher
        self.sessionTimeout = sessionTimeout
        work = SimulatedKeeper(surroundings, database, timers)
        reading = SimulatedKeeper(surroundings, database, timers)
        work.prepare = { [unowned self] in self.enter($0, $1) }
        work.opened = { [unowned self] _ in
            self.beat()
            self.flush()
            self.onReady()
        }
        work.failed = { [unowned self] in self.timers.cancel(self.beatTimer) }
        reading.opened = { [unowned self] _ in self.onReady() }
    }

    private let flushDelay = Duration.milliseconds(100)
    private var beatInterval: Duration { sessionTimeout / 5 }
    private var deadAfter: Duration { sessionTimeout * 3 / 5 }

    func mayBeGivenUp(at now: MonotonicTime) -> Bool { lastBeat.map { now - $0 > sessionTimeout / 2 } ?? false }
    var isReady: Bool { work.current != nil && reading.current != nil }

    private func enter(_ connection: SimulatedConnection, _ done: @escaping (Bool) -> Void) {
        let (database, pusher) = (database, pusher)
        connection.submit({ database.showLife(pusher, connection) }) { isOurs in
            guard isOurs == true else { return done(false) }
            connection.submit({ database.enter(pusher) }) { entered in
                guard entered != nil else { return done(false) }
                connection.submit({ database.forgetTheDead(but: pusher) }) { [unowned self] forgotten in
                    self.beats = []
                    done(forgotten != nil)
                }
            }
        }
    }

    /// Stores what is left, leaves the registry.
    func stop(_ completion: @escaping () -> Void) {
        timers.cancel(flushTimer)
        timers.cancel(beatTimer)
        guard let connection = work.current else { return completion() }
        connection.submit({ [database, pusher] in database.leave(pusher) }) { _ in completion() }
    }

    // MARK: Consumers

    func register(_ consumer: Int, _ completion: @escaping (Bool) -> Void) {
        guard let connection = work.current else { return completion(false) }
        let database = database
        connection.submit(isBlocked: { database.isDiscarding }, { database.register(consumer) }) { completion($0 != nil) }
    }

    func claim(
        _ consumer: Int, knowing known: PositionBook.Entry?, _ completion: @escaping (SimulatedDatabase.Claim?) -> Void
    ) {
        guard let connection = work.current else { return completion(nil) }
        let known = book.newest(known, of: SimulatedDatabase.identity(of: consumer))
        let dead = beats.filter { $0.pusher != pusher && surroundings.now - $0.seen > deadAfter }.map(\.pusher)
        connection.submit(
            { [database, pusher] in database.claim(consumer, for: pusher, knowing: known, dead: dead) }, completion)
    }

    func release(_ consumer: Int, epoch: Int64, position: EventID) {
        note(consumer, epoch: epoch, position: position)
        guard let connection = work.current else { return }
        let entry = PositionBook.Entry(
            consumer: SimulatedDatabase.identity(of: consumer), epoch: epoch, position: position)
        connection.submit({ [database, pusher] in database.store([entry], by: pusher) }) { [unowned self] outcome in
            if let outcome, outcome[0] != .locked { self.book.forget(entry) }
        }
        connection.submit({ [database, pusher] in database.release(consumer, of: pusher, epoch: epoch) }) { _ in }
    }

    func resume(_ consumer: Int, epoch: Int64, _ completion: @escaping (Bool?) -> Void) {
        guard let connection = work.current else { return completion(nil) }
        connection.submit({ [database, pusher] in database.resume(consumer, for: pusher, epoch: epoch) }, completion)
    }

    // MARK: History

    func read(
        after: EventID, through: EventID, types: [Bool]?, stretch: Int64?, limits: (rows: Int, bytes: Int),
        _ completion: @escaping (SimulatedRows?) -> Void
    ) {
        guard let connection = reading.current else { return completion(nil) }
        let isUnbounded = surroundings.fault == .historyBeyondSettled
        connection.submit(
            { [database] in
                let end = isUnbounded ? max(through, database.newest) : through
                return database.page(after: after, through: end, types: types, stretch: stretch, limits: limits)
            }, completion)
    }

    // MARK: Positions

    func note(_ consumer: Int, epoch: Int64, position: EventID) {
        book.note(SimulatedDatabase.identity(of: consumer), epoch: epoch, position: position)
        flushLater()
    }

    private func flushLater() {
        guard flushTimer == nil else { return }
        flushTimer = timers.schedule(at: surroundings.now + flushDelay) { [unowned self] in
            self.flushTimer = nil
            self.flush()
        }
    }

    private func flush() {
        guard let connection = work.current else { return }
        let entries = book.take()
        guard !entries.isEmpty else { return }
        connection.submit({ [database, pusher] in database.store(entries, by: pusher) }) { [unowned self] outcome in
            if let outcome {
                let pairs = zip(entries, outcome)
                self.book.finished(Set(pairs.filter { $0.1 != .locked }.map(\.0.consumer)))
                for (entry, stored) in pairs where stored == .fenced {
                    self.onFenced(SimulatedDatabase.consumer(entry.consumer), entry.epoch)
                }
            } else {
                self.book.finished([])
            }
            guard self.book.hasUnsent, self.work.current != nil else { return }
            self.flushLater()
        }
    }

    // MARK: Signs of life

    private func beat() {
        timers.cancel(beatTimer)
        guard let connection = work.current else { return }
        let begun = surroundings.now
        let present = sessions()
        let (database, pusher, settled) = (database, pusher, settled())
        connection.submit(
            isBlocked: { database.isBeatBlocked(settled: settled) }, { database.beat(pusher, settled: settled) }
        ) { [unowned self] pulse in
            if pulse != nil || self.surroundings.fault != .noBeatAfterFailure { self.beatLater() }
            guard let pulse else { return }
            guard pulse.isAlive else {
                self.onDeclaredDead()
                return self.work.restart()
            }
            self.lastBeat = begun
            self.seen(pulse.pushers)
            for (consumer, epoch) in present where pulse.owned.first(where: { $0.consumer == consumer })?.epoch != epoch {
                self.onFenced(consumer, epoch)
            }
            for (consumer, epoch) in pulse.owned where !self.isServed(consumer) {
                connection.submit({ database.release(consumer, of: pusher, epoch: epoch) }) { _ in }
            }
        }
    }

    private func beatLater() {
        beatTimer = timers.schedule(at: surroundings.now + beatInterval) { [unowned self] in self.beat() }
    }

    private func seen(_ present: [SimulatedDatabase.Pusher]) {
        for other in present where !beats.contains(where: { $0.pusher == other.id && $0.beat == other.beat }) {
            beats.removeAll { $0.pusher == other.id }
            beats.append((other.id, other.beat, surroundings.now))
        }
        beats.removeAll { known in !present.contains { $0.id == known.pusher } }
        onOthers(present.contains { $0.id != pusher })
    }
}
