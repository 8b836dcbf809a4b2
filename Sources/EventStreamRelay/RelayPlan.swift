import EventStream
import PosixLoop

/// Which events of a batch are handed over when, and what is reported about the batch.
///
/// Events with one key are in one lane, and all events without a key in a lane of their own. A lane has one request under way at most,
/// so the order of each lane is kept. What has been taken from the beginning of the batch without a gap is confirmed. Where an event is
/// refused, the events before it are handed over and confirmed, what is under way ends, and the event is rejected: it comes again with
/// what follows. Later events that were taken already are remembered, and not handed over twice.
///
///     no batch ─ batchArrived ─▶ at work ─ finish, reject, leave ─▶ no batch
///
/// Asked for the next action until that is to wait; each method tells what happened meanwhile.
struct RelayPlan {
    struct Item: Hashable {
        let id: EventID
        let key: String?
        /// The size of what is handed over, about.
        let bytes: Int
    }

    enum Action: Hashable {
        /// These events of the batch are handed over together: ``answered(_:_:at:random:)``.
        case send([Int])
        /// The events up to this one are confirmed.
        case confirm(through: Int)
        /// The whole batch is confirmed; the next may come.
        case finish
        /// This event is rejected, those before it are confirmed; the next batch may come.
        case reject(Int, String)
        /// The batch was given up by ``abandon()``, and nothing is under way any more.
        case leave
        /// Nothing is to be done until something is answered, or until then.
        case wait(until: MonotonicTime?)
    }

    /// How much is handed over at once.
    struct Limits: Hashable {
        /// Requests under way.
        var requests: Int
        /// Events of a request, and their size; the first event always fits.
        var events = 1
        var bytes = 1 << 20
    }

    private enum State {
        case waiting, alone, underWay, taken
        case refused(String)
    }

    static let standingPause = Duration.seconds(60)

    let limits: Limits
    private var items: [Item] = []
    private var states: [State] = []
    private var lanes: [Int] = []
    private var busy: Set<Int> = []
    private var requests = 0
    /// So many events from the beginning of the batch have been taken, and reported.
    private var confirmed = 0
    private var isParked = false
    private var isAbandoned = false
    /// Taken in this generation beyond what was confirmed.
    private var remembered: Set<EventID> = []
    private var generation: String?
    private var backoff = Backoff(first: .milliseconds(500), longest: .seconds(60))
    private var pausedUntil: MonotonicTime?
    /// Lanes that wait until then.
    private var resting: [Int: MonotonicTime] = [:]
    /// Failures that pass, since something was taken.
    private var failures = 0
    /// What a person has to change before anything is taken; nil where it is not known that there is something.
    private(set) var standing: String?

    init(_ limits: Limits) { self.limits = limits }

    // MARK: What happens

    /// - Parameters:
    ///   - isParked: one event that was parked, with an id lower than those of other batches.
    ///   - generation: of the stream; ids of another one mean other events.
    mutating func batchArrived(_ items: [Item], isParked: Bool = false, generation: String) {
        precondition(requests == 0 && !items.isEmpty, "one batch at a time, and none is empty")
        if self.generation != generation { remembered = [] }
        if !isParked { remembered = remembered.filter { $0 >= items[0].id } }
        (self.items, self.isParked, self.generation) = (items, isParked, generation)
        (confirmed, isAbandoned, resting) = (0, false, [:])
        var known: [String: Int] = [:]
        lanes = items.map { item in
            guard let key = item.key else { return 0 }
            let lane = known[key] ?? known.count + 1
            known[key] = lane
            return lane
        }
        states = items.map { !isParked && remembered.contains($0.id) ? .taken : .waiting }
    }

    /// - Parameter random: 0 ..< 1, shortens a pause, so that many relays do not come back in step.
    mutating func answered(
        _ events: [Int], _ outcome: SinkOutcome, at now: MonotonicTime, random: Double = .random(in: 0..<1)
    ) {
        requests -= 1
        for index in events {
            busy.remove(lanes[index])
            states[index] = .waiting
        }
        switch outcome {
        case .taken:
            for index in events { states[index] = .taken }
            standing = nil
            failures = 0
            backoff.reset()
        case .again(let after, _):
            standing = nil
            failures += 1
            if let after {
                pause(until: now + after)
            } else if failures == 1 {
                // Maybe it is only this one.
                let time = now + backoff.next(random: random)
                for index in events { resting[lanes[index]] = time }
            } else if !isPaused(at: now) {
                // What was under way together fails together; that counts once.
                pause(until: now + backoff.next(random: random))
            }
        case .refused(let reason):
            standing = nil
            for index in events { states[index] = events.count == 1 ? .refused(reason) : .alone }
        case .standStill(let reason):
            standing = reason
            pause(until: now + RelayPlan.standingPause)
        }
    }

    /// The batch is not to be handed over any more: the session is over, or the relay stops. What is under way ends.
    mutating func abandon() { isAbandoned = true }

    private mutating func pause(until time: MonotonicTime) { pausedUntil = max(pausedUntil ?? time, time) }
    private func isPaused(at now: MonotonicTime) -> Bool { pausedUntil.map { $0 > now } ?? false }

    // MARK: What is to be done

    mutating func next(at now: MonotonicTime) -> Action {
        let taken = states[confirmed...].firstIndex { if case .taken = $0 { false } else { true } } ?? states.count
        guard taken < states.count else { return end(.finish) }
        guard taken == confirmed else {
            confirmed = taken
            return .confirm(through: taken - 1)
        }
        let refused = states.firstIndex { if case .refused = $0 { true } else { false } }
        if requests == 0, isAbandoned { return end(.leave) }
        if requests == 0, refused == taken, case .refused(let reason) = states[taken] { return end(.reject(taken, reason)) }
        let most = standing == nil ? limits.requests : 1
        guard !isAbandoned, requests < most else { return .wait(until: nil) }
        resting = resting.filter { $0.value > now }
        let chosen = choose(before: refused ?? states.count)
        guard !chosen.isEmpty else { return .wait(until: resting.values.min()) }
        if let pausedUntil, pausedUntil > now { return .wait(until: pausedUntil) }
        pausedUntil = nil
        requests += 1
        for index in chosen {
            states[index] = .underWay
            busy.insert(lanes[index])
        }
        return .send(chosen)
    }

    /// The first events that may be handed over together.
    private func choose(before end: Int) -> [Int] {
        var chosen: [Int] = []
        var bytes = 0
        var held = busy.union(resting.keys)
        for index in confirmed..<end where !held.contains(lanes[index]) {
            switch states[index] {
            case .taken, .underWay, .refused: continue
            case .alone:
                guard !chosen.isEmpty else { return [index] }
                held.insert(lanes[index])
            case .waiting:
                guard chosen.isEmpty || bytes + items[index].bytes <= limits.bytes else { return chosen }
                chosen.append(index)
                bytes += items[index].bytes
                if chosen.count == limits.events { return chosen }
            }
        }
        return chosen
    }

    /// The batch is over.
    private mutating func end(_ action: Action) -> Action {
        if !isParked {
            for (item, state) in zip(items, states) {
                if case .taken = state { remembered.insert(item.id) }
            }
            if let last = items.last?.id, action == .finish { remembered = remembered.filter { $0 > last } }
        }
        (items, states, lanes, confirmed) = ([], [], [], 0)
        return action
    }
}
