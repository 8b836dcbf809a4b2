import EventStream
import EventStreamClient
import TestSupport
import Testing

/// What an application's own rules in the database refuse: the event at fault fails, and nothing that is committed with it.
@Suite(.serialized) struct RefusedEventTests {
    struct Rule: Sendable, CustomTestStringConvertible {
        let name: String
        let sql: String
        /// What the answer to the one at fault has in it.
        let error: String
        let text: String
        var testDescription: String { name }

        static func trigger(_ name: String, _ error: String, _ text: String, _ body: String) -> Rule {
            Rule(
                name: name,
                sql: """
                    CREATE FUNCTION rule() RETURNS trigger LANGUAGE plpgsql AS $$
                    BEGIN IF NEW.type = 'BAD' THEN \(body); END IF; RETURN NEW; END $$;
                    CREATE TRIGGER rule BEFORE INSERT ON evt_queue FOR EACH ROW EXECUTE FUNCTION rule();
                    """, error: error, text: text)
        }

        static let all: [Rule] = [
            .trigger("raise", "InvalidRequest", "no room for BAD", "RAISE EXCEPTION 'no room for %', NEW.type"),
            .trigger("own state", "InvalidRequest", "ours", "RAISE EXCEPTION 'ours' USING ERRCODE = 'AB123'"),
            .trigger("resources", "InternalError", "out of it", "RAISE EXCEPTION 'out of it' USING ERRCODE = '53000'"),
            .trigger("cancelled", "InternalError", "too slow", "RAISE EXCEPTION 'too slow' USING ERRCODE = '57014'"),
            .trigger("broken trigger", "InternalError", "not_there", "PERFORM FROM not_there"),
            .trigger("no right", "InternalError", "permission denied", "PERFORM FROM pg_catalog.pg_authid"),
            .trigger("dropped in silence", "InvalidRequest", "a trigger", "RETURN NULL"),
            Rule(
                name: "check", sql: "ALTER TABLE evt_queue ADD CONSTRAINT good CHECK (type <> 'BAD')", error: "InvalidRequest",
                text: "\"good\""),
            Rule(
                name: "index",
                sql: "CREATE INDEX ON evt_queue ((1 / CASE WHEN type = 'BAD' THEN 0 ELSE 1 END))", error: "InvalidRequest",
                text: "division by zero"),
            Rule(
                name: "deferred",
                sql: """
                    CREATE FUNCTION rule() RETURNS trigger LANGUAGE plpgsql AS $$
                    BEGIN IF NEW.type = 'BAD' THEN RAISE EXCEPTION 'in the end not'; END IF; RETURN NULL; END $$;
                    CREATE CONSTRAINT TRIGGER rule AFTER INSERT ON evt_queue DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW EXECUTE FUNCTION rule();
                    """, error: "InvalidRequest", text: "in the end not"),
        ]
    }

    @Test(arguments: Rule.all) func anEventThatARuleRefusesFailsAlone(rule: Rule) async throws {
        try await Pipeline.with([.generator]) { pipeline in
            try await TestDatabase.execute(rule.sql, on: pipeline.active)
            let generator = try await pipeline.generator()
            let bad: Set = [0, 77, 78, 199]
            let calls = (0..<200).map { number in
                Task.immediate { try await generator.addEvent(bad.contains(number) ? "BAD" : "GOOD", RawJSON("\(number)")) }
            }
            var ids: [EventID] = []
            for (number, call) in calls.enumerated() {
                if bad.contains(number) {
                    let error = await #expect(throws: EventStreamError.self) { try await call.value }
                    #expect(error?.name == rule.error && error?.text.contains(rule.text) == true, "\(error as Any)")
                } else {
                    ids.append(try await call.value)
                }
            }
            // An id that was answered is that of this very event, and the event is there.
            let rows = try await TestDatabase.rows("SELECT id, data FROM evt_queue ORDER BY id", on: pipeline.active)
            #expect(rows.map { $0[0]! } == ids.map(\.description))
            #expect(rows.map { $0[1]! } == (0..<200).filter { !bad.contains($0) }.map(String.init))
        }
    }
}
