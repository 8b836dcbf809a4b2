/// A batch's way from its arrival to its answer.
///
///     arrived ─▶ archiving ─▶ over
///        ▲ │         │ failed
///        │ │         ▼
///        │ │      pausing ─▶ comparing
///        │ └─ no session ─▶ over ◀─┤ the generation is over
///        └─────────────────────────┘
///
/// Each method tells what happened, and returns what is to be done about it.
struct BatchMachine {
    enum State: Hashable {
        /// Whether there is a session, and which, is not known.
        case arrived
        case archiving
        /// Until it is tried again.
        case pausing
        /// The pusher is left for the next one; no batch is taken until a pause is over.
        case leaving
        /// Whether the batch is of the stream's present generation is not known.
        case comparing
        case over
    }

    enum Action: Hashable {
        /// ``found(session:)``
        case findSession
        /// ``archived(_:)``, ``failed(_:)``
        case archive(session: Int)
        /// ``paused()``
        case pause
        /// ``compared(isPresent:)``
        case compareGeneration
        /// Its events are archived; so many were new.
        case confirm(Int)
        /// The pusher is to send its events again.
        case reject(String)
        /// The pusher reads a database that was given up: the batch is rejected, and the next pusher tried. Then ``left()``.
        case moveOn(String)
        /// The batch is done with; the next may come.
        case next
        /// The archiver was told to stop; the batch is left unanswered.
        case stop
    }

    enum Failure: Hashable {
        /// The batch is of a generation of the stream that is over.
        case pastGeneration(String)
        case stopped
        case other
    }

    private(set) var state = State.arrived

    /// What is to be done first.
    var first: Action { .findSession }

    /// Who has no session any more leaves the position to whoever has; the events come again.
    mutating func found(session: Int?) -> Action {
        guard let session else { return end(.reject("the session has ended")) }
        state = .archiving
        return .archive(session: session)
    }

    mutating func archived(_ new: Int) -> Action { end(.confirm(new)) }

    mutating func failed(_ failure: Failure) -> Action {
        switch failure {
        case .pastGeneration(let reason):
            state = .leaving
            return .moveOn(reason)
        case .stopped: return end(.stop)
        case .other:
            state = .pausing
            return .pause
        }
    }

    mutating func left() -> Action { .pause }

    /// - Parameter isStopping: whether the archiver was told to stop meanwhile.
    mutating func paused(isStopping: Bool) -> Action {
        guard !isStopping else { return end(.stop) }
        guard state == .pausing else { return end(.next) }
        state = .comparing
        return .compareGeneration
    }

    /// What is of a generation that ended meanwhile nobody can complete any more; the present one has it again.
    mutating func compared(isPresent: Bool) -> Action {
        guard isPresent else { return end(.reject("the generation is over")) }
        state = .arrived
        return .findSession
    }

    private mutating func end(_ action: Action) -> Action {
        state = .over
        return action
    }
}
