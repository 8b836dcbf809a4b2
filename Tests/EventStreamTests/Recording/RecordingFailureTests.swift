import EventStream
import LibPQ
import Testing

@testable import EventStreamGenerator

struct RecordingFailureTests {
    private func failure(_ state: String, _ code: PostgresError.Code = .server) -> RecordingFailure {
        RecordingFailure(error: PostgresError(code, "what the server said", sqlState: SQLState(rawValue: state)))
    }

    private let draft = EventDraft(type: EventType("A")!, data: .null)

    @Test func anIdempotencyKeyThatOthersUseIsNamed() {
        let keyed = EventDraft(type: EventType("A")!, data: .null, idempotencyKey: "payment 4711")
        #expect(failure("55P03").answer(for: keyed).text.contains("the idempotency key payment 4711 is open"))
        #expect(failure("55P03").answer(for: keyed).name == "InternalError")
        for other in [draft, nil] { #expect(!failure("55P03").answer(for: other).text.contains("idempotency")) }
    }

    @Test func aWideTypeThatTheStreamDoesNotTakeIsNamed() {
        let (wide, text) = (EventDraft(type: EventType("order.paid")!, data: .null), "1 to 16 of A-Z and _")
        #expect(failure("22001").answer(for: wide).text.hasSuffix(text))
        var error = PostgresError(.server, "violates", sqlState: .checkViolation)
        #expect(!RecordingFailure(error: error).answer(for: wide).text.hasSuffix(text))
        error.constraint = "evt_queue_type_check"
        #expect(RecordingFailure(error: error).answer(for: wide).text.hasSuffix(text))
        #expect(!RecordingFailure(error: error).answer(for: draft).text.hasSuffix(text))
    }

    @Test(arguments: ["P0001", "AB123", "23514", "23505", "22012", "54001", "44000", "09000", "PT404"])
    func whatARuleOfTheApplicationsRefusesIsAnInvalidRequestWithTheServersWords(state: String) {
        #expect(failure(state).mayBeOfOneEvent && failure(state).isRefusal)
        #expect(failure(state).answer(for: draft) == .invalidRequest("the event was not recorded: what the server said"))
    }

    @Test(arguments: ["40P01", "42P01", "42501", "53100", "55P03", "57014", "XX000", "54000", "0A000", "21000"])
    func whatMayBeAnybodysFaultIsLookedForToo(state: String) {
        #expect(failure(state).mayBeOfOneEvent && !failure(state).isRefusal)
        #expect(failure(state).answer(for: draft).name == "InternalError")
        #expect(failure(state).answer(for: draft).text == "the event was not recorded: what the server said (SQLSTATE \(state))")
    }

    @Test(arguments: ["40001", "57P01", "57P03", "25006", "08006"])
    func conflictsAndLostSessionsAreNotOfOneEvent(state: String) {
        #expect(!failure(state).mayBeOfOneEvent)
        #expect(failure(state).answer(for: draft).name == "InternalError")
    }

    @Test func aLostConnectionLeavesTheOutcomeUnknown() {
        let lost = RecordingFailure(error: PostgresError(.connectionLost, "gone", mayHaveBeenExecuted: true))
        #expect(!lost.mayBeOfOneEvent && lost.answer(for: draft).text == "it is not known whether the event was recorded: gone")
        let unsent = RecordingFailure(error: PostgresError(.connectionLost, "gone"))
        #expect(unsent.answer(for: draft).text == "the event was not recorded: gone")
    }
}
