import EventStream
import LibPQ

/// What a commit of several events that failed means for each of them. Pure: the server's error in, a decision out.
struct RecordingFailure {
    /// For how long the events at fault among those of one commit are looked for: where each attempt waits for a lock, others wait
    /// with it.
    static let searchLimit = Duration.seconds(10)

    let error: PostgresError

    /// Whether one event may be the cause, so that the others can be recorded without it. Nothing was recorded by the attempt that
    /// failed.
    ///
    /// A rule of the application's (a trigger, a constraint, an index, a domain) may fail with any state there is. Conflicts with
    /// other transactions (class 40), an end of the session (57P, 08) and a standby (25006) are no rule's. A deadlock is one of
    /// idempotency keys that others use in another order: single events have none.
    var mayBeOfOneEvent: Bool {
        guard error.code == .server, let state = error.sqlState else { return false }
        return state == .deadlockDetected
            || !["40", "08"].contains(state.category) && !state.endsSession && state != .readOnlyTransaction
    }

    /// Whether the event itself was refused, and will be the next time: by its data (classes 22 and 23, too deep nesting), or by a
    /// rule that raises an error of its own (P0, 09, 27, 44, and the states that neither SQL nor PostgreSQL has).
    var isRefusal: Bool {
        guard error.code == .server, let state = error.sqlState else { return false }
        return state == .statementTooComplex || RecordingFailure.refusals.contains(state.category)
            || !RecordingFailure.known.contains(state.category)
    }

    private static let refusals: Set = ["09", "22", "23", "27", "44", "P0"]

    /// The classes of states (PostgreSQL 18 documentation, appendix A).
    private static let known: Set = [
        "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "25", "26",
        "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55", "57", "58", "72",
        "F0", "HV", "P0", "XX",
    ]

    /// The answer to events of a commit that failed.
    ///
    /// - Parameter draft: the event, if it is the only one: nobody else is told of it.
    func answer(for draft: EventDraft?) -> EventStreamError {
        if error.sqlState == .lockNotAvailable, let key = draft?.idempotencyKey {
            return .internalError(
                "the event was not recorded: a transaction with the idempotency key \(key) is open, or holds a lock on the table; "
                    + "call again")
        }
        let isOfType = error.sqlState == .stringTooLong || error.constraint?.hasSuffix("_type_check") ?? false
        if isRefusal, isOfType, let type = draft?.type, !type.isNarrow {
            return .invalidRequest(
                "the event was not recorded: \(type) is a wide event type, and the stream takes narrow ones only, 1 to 16 of A-Z and _"
            )
        }
        if isRefusal { return .invalidRequest("the event was not recorded: \(error.message)") }
        if error.code == .server && error.sqlState?.endsSession != true {
            return .internalError("the event was not recorded: \(error)")
        }
        guard error.mayHaveBeenExecuted else { return .internalError("the event was not recorded: \(error)") }
        return .internalError("it is not known whether the event was recorded: \(error)")
    }
}
