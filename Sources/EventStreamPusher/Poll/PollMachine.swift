import EventStream

/// A call of `pollEvents`, from its turn to its answer (protocol, section 4).
///
///     waiting ─▶ checking ─▶ confirming ─▶ looking ⟲ ─▶ over
///        │           └──────────────────────────────────▲
///        └── a live poller ─────────────▶ looking ──────┘
///
/// Each method tells what happened, and returns what is to be done about it.
struct PollMachine {
    enum State: Hashable {
        /// For what was committed before the call to be read.
        case waiting
        /// Whether there is an event with the id it confirms.
        case checking(EventID)
        /// For the position to be stored.
        ///
        /// - Parameter through: how far the stream was settled before; if there is no barrier then, none is below this.
        case confirming(through: EventID)
        /// For events up to where the stream was settled when it asked: a flood of unwanted events must not keep it waiting.
        case looking(through: EventID)
        case over
    }

    enum Action: Hashable {
        /// Ask for the newest event after this one: ``found(newest:in:)``.
        case findNewest(after: EventID)
        /// Store the position: ``stored(_:in:)``.
        case confirm(through: EventID)
        /// Where to begin to look for a live poller, who asks from the same id until something comes: ``begins(at:)``.
        case recall(after: EventID)
        /// Read what is wanted in (after, through]: ``read(_:in:)``.
        case read(after: EventID, through: EventID)
        case answer(Result<RawJSON, EventStreamError>)
    }

    /// The stream as it is at the moment.
    struct Stream: Hashable {
        var generation: StreamGeneration?
        var settled: EventID
        /// How far the consumer was answered with ids that an earlier generation may have given to others.
        var polledOut: EventID?
    }

    let component: ConsumerComponent
    let last: EventID?
    let generation: String?
    private(set) var state = State.waiting

    init(_ component: ConsumerComponent, after last: EventID?, generation: String?) {
        self.component = component
        self.last = last
        self.generation = generation
    }

    /// What a poll says to be of a generation is of no other; the stream may have begun anew while it waited.
    func refusal(in stream: Stream) -> EventStreamError? {
        guard let generation, let present = stream.generation?.id, generation != present else { return nil }
        return .invalidRequest("the generation \(generation) of the stream is over: the present one is \(present)")
    }

    /// The head of the stream has been read since the call.
    mutating func freshened(_ isFresh: Bool, in stream: Stream) -> Action {
        guard isFresh else { return answer(.failure(.unavailable)) }
        guard !component.isLive else { return .recall(after: last ?? .none) }
        // A position never goes past what is settled: nothing beyond can have been delivered. What may be of an earlier
        // generation is not beyond anything.
        guard let last, last > stream.settled, last > stream.generation?.start ?? .none else { return confirm(in: stream) }
        state = .checking(last)
        return .findNewest(after: stream.settled)
    }

    mutating func found(newest: EventID?, in stream: Stream) -> Action {
        guard case .checking(let last) = state else { return .answer(.failure(.unavailable)) }
        guard let newest, last <= newest else {
            return answer(.failure(.invalidRequest("last_id \(last) is beyond the newest event")))
        }
        return confirm(in: stream)
    }

    private mutating func confirm(in stream: Stream) -> Action {
        if let refusal = refusal(in: stream) { return answer(.failure(refusal)) }
        state = .confirming(through: stream.settled)
        return .confirm(through: min(stream.settled, confirmed(in: stream)))
    }

    /// What a poller has of an earlier generation of the stream confirms nothing: its ids may be those of other events here.
    private func confirmed(in stream: Stream) -> EventID {
        guard let last else { return .none }
        if generation != nil { return last }
        let isOfThisOne = last > stream.generation?.start ?? .none || stream.polledOut.map { last <= $0 } ?? false
        return isOfThisOne ? last : .none
    }

    /// - Parameter stored: what is stored now; nil if the consumer is not registered.
    mutating func stored(_ stored: ConsumerStore.Polled?, consumer: ConsumerIdentity, in stream: Stream) -> Action {
        guard case .confirming(let settled) = state else { return .answer(.failure(.unavailable)) }
        guard let stored else { return answer(.failure(.notRegistered("\(consumer) is not registered"))) }
        guard !stored.isPaused else {
            return answer(.failure(.consumerPaused("an operator has paused \(consumer); what the call confirms is stored")))
        }
        return look(after: stored.position, through: min(settled, stored.barrier ?? settled), in: stream)
    }

    /// Nothing that a live poller wants lies between what it asked for and here.
    mutating func begins(at start: EventID, in stream: Stream) -> Action {
        look(after: start, through: stream.settled, in: stream)
    }

    private mutating func look(after: EventID, through: EventID, in stream: Stream) -> Action {
        if let refusal = refusal(in: stream) { return answer(.failure(refusal)) }
        guard after < through else { return answer(.success(.emptyList)) }
        state = .looking(through: through)
        return .read(after: after, through: through)
    }

    /// - Parameters:
    ///   - group: what was found.
    ///   - isWaitedFor: whether the peer is still there.
    mutating func read(_ group: EventGroup, isWaitedFor: Bool, in stream: Stream) -> Action {
        guard case .looking(let through) = state else { return .answer(.failure(.unavailable)) }
        if let refusal = refusal(in: stream) { return answer(.failure(refusal)) }
        guard group.count == 0 else { return answer(.success(RawJSON(unchecked: group.list))) }
        guard isWaitedFor else { return abandoned() }
        // A type that is rare is looked for in steps: others wait behind each.
        return look(after: group.through, through: through, in: stream)
    }

    /// Nobody waits for the answer any more.
    mutating func abandoned() -> Action { answer(.success(.emptyList)) }

    mutating func failed(_ error: EventStreamError) -> Action { answer(.failure(error)) }

    private mutating func answer(_ outcome: Result<RawJSON, EventStreamError>) -> Action {
        state = .over
        return .answer(outcome)
    }
}

extension RawJSON {
    fileprivate static let emptyList = RawJSON(unchecked: Array("[]".utf8))
}
