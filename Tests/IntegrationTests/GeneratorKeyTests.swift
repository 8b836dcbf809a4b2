import EventStream
import EventStreamClient
import LibPQ
import TestSupport
import Testing

/// Idempotency keys through the generator, which records the events of many calls in one transaction.
@Suite(.serialized) struct GeneratorKeyTests {
    @Test func aConflictFailsAloneAndRepeatsGetTheFirstId() async throws {
        try await Pipeline.with([.generator]) { pipeline in
            let generator = try await pipeline.generator()
            let first = try await generator.addEvent("FIRST", "0", idempotencyKey: "used")
            let calls = (0..<200).map { number in
                Task.immediate {
                    let key: String? = number % 4 == 0 ? "used" : number % 4 == 1 ? nil : "\(number / 4)"
                    return try await generator.addEvent(
                        "NEXT", RawJSON("\(number % 4 > 1 ? number / 4 : number)"), key: "k", meta: RawJSON("{}"),
                        idempotencyKey: key)
                }
            }
            var ids: [EventID] = []
            for (number, call) in calls.enumerated() {
                if number % 4 == 0 {
                    let error = await #expect(throws: EventStreamError.self) { try await call.value }
                    #expect(error?.code == .idempotencyConflict)
                } else {
                    ids.append(try await call.value)
                }
            }
            #expect(Set(ids).count == 100 && ids == ids.sorted())
            #expect(try await generator.addEvent("FIRST", "0", idempotencyKey: "used") == first)
            let rows = try await TestDatabase.number(
                "SELECT count(*) FROM evt_queue WHERE type = 'NEXT' AND key = 'k' AND meta::text = '{}'", on: pipeline.active)
            #expect(rows == 100)
        }
    }

    @Test func aKeyInAnOpenTransactionKeepsOnlyItsOwnCallWaiting() async throws {
        try await Pipeline.with([.generator]) { pipeline in
            let generator = try await pipeline.generator()
            let call = "SELECT evt_add('MINE', '1', idempotency_key => 'held')"
            try await TestDatabase.connected(to: TestDatabase.url(pipeline.active, as: .app)) { connection in
                try await connection.query("BEGIN")
                let id = try await connection.query(Statement(call)).int(0, 0)
                let calls = (0..<20).map { number in
                    Task.immediate {
                        try await generator.addEvent("MINE", RawJSON("1"), idempotencyKey: number == 7 ? "held" : nil)
                    }
                }
                for (number, call) in calls.enumerated() {
                    if number == 7 {
                        let error = await #expect(throws: EventStreamError.self) { try await call.value }
                        #expect(error?.code == .internalError && error?.text.contains("was not recorded") == true)
                    } else {
                        _ = try await call.value
                    }
                }
                try await connection.query("COMMIT")
                #expect(try await generator.addEvent("MINE", RawJSON("1"), idempotencyKey: "held").rawValue == id)
            }
            #expect(try await pipeline.backlog() == 20)
        }
    }
}
