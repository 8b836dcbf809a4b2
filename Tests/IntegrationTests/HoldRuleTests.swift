import EventStream
import EventStreamDatabase
import EventStreamDiscarder
import LibPQ
import TestSupport
import Testing

/// Which events consumers hold back, as the statements of the discarder and of the status decide it.
@Suite(.serialized) struct HoldRuleTests {
    private struct Consumer: Hashable, CaseIterable {
        enum Kind: String, CaseIterable { case plain = "PLAIN", required = "REQUIRED", known = "KNOWN", compared = "COMPARED" }
        let kind: Kind
        let position: Int64
        let own: MaxLag?

        static let allCases = Kind.allCases.flatMap { kind in
            [0, 40, 59, 60, 80, 90, 99, 100].flatMap { position in
                [nil, .events(5), .events(35), .unlimited].map { Consumer(kind: kind, position: position, own: $0) }
            }
        }
    }

    private struct State {
        let settled: Int64
        let discarded: Int64
        let leap: Int64

        /// As the words of the design say it.
        func holdsAfter(_ consumer: Consumer, _ standard: MaxLag?) -> Int64? {
            guard consumer.kind == .plain else { return consumer.position }
            guard consumer.position >= discarded else { return nil }
            guard case .events(let lag) = consumer.own ?? standard else { return consumer.position }
            let isWithin = settled - max(consumer.position, leap) <= lag
            return isWithin ? consumer.position : settled - lag
        }
    }

    private func fill(_ url: String) async throws -> [String: Consumer] {
        var named: [String: Consumer] = [:]
        var script = ""
        for (number, consumer) in Consumer.allCases.enumerated() {
            let name = "local:\(consumer.kind.rawValue)\(number)"
            named[name] = consumer
            var lag = "NULL"
            if case .events(let events)? = consumer.own { lag = "\(events)" }
            script += """
                INSERT INTO evt_consumers (ident, last_evt_id, max_lag_events, verified_evt_id, verified_all)
                    VALUES ('\(name)', \(consumer.position), \(lag), \(consumer.kind == .compared ? 1 : 0), \(consumer.kind == .required));
                """
            if consumer.kind == .known {
                script += "INSERT INTO evt_queue_archives (ident, token) VALUES ('\(name)', gen_random_uuid());"
            }
        }
        try await TestDatabase.execute(script, on: url)
        return named
    }

    private func held(_ rule: HoldRule, on connection: Connection) async throws -> [String: Int64?] {
        let rows = try await connection.query(
            Statement("SELECT c.ident, \(rule.holdsAfter) FROM evt_consumers c CROSS JOIN evt_queue_state s"))
        return Dictionary(uniqueKeysWithValues: (0..<rows.count).map { (rows.string($0, 0)!, rows.int($0, 1)) })
    }

    @Test func itIsWhatTheDesignSaysForEveryKindOfConsumer() async throws {
        try await TestDatabase.with(.active) { url in
            let consumers = try await fill(url)
            let required = consumers.filter { $0.value.kind == .required }.keys.map { ConsumerIdentity($0)! }
            try await TestDatabase.connected(to: url) { connection in
                let info = try await StreamInfo.load(.standard, from: connection)
                for (discarded, leap, standard) in [Int64(0), 60].flatMap({ discarded in
                    [Int64(0), 60, 85, 96, 100, 200].flatMap { leap in
                        [nil, MaxLag.events(1), .events(10), .events(40), .events(1000)].map { (discarded, leap, $0) }
                    }
                }) {
                    let state = State(settled: 100, discarded: discarded, leap: leap)
                    try await connection.script(
                        "UPDATE evt_queue_state SET settled = 100, discarded = \(discarded), leap = \(leap)")
                    let rule = HoldRule(info.tables, required: required, maxLag: standard)
                    let found = try await held(rule, on: connection)
                    for (name, consumer) in consumers where found[name]! != state.holdsAfter(consumer, standard) {
                        Issue.record(
                            "\(name) \(consumer) \(state) \(String(describing: standard)): \(String(describing: found[name]))")
                    }
                    let least = consumers.values.compactMap { state.holdsAfter($0, standard) }.min()
                    let look = try await DiscardStore(info, rule: rule).look(on: connection)
                    #expect(look.stream.confirmed?.rawValue == least)
                }
            }
        }
    }

    /// The rule, the consumers and their maxima: what the discarder and, by what it has noted, the status make of it.
    private func check(
        _ maxLag: MaxLag?, noted: String?, on connection: Connection, _ expected: [String: Int64?],
        location: SourceLocation = #_sourceLocation
    ) async throws {
        let info = try await StreamInfo.load(.standard, from: connection)
        try await DiscardStore(info).note(maxLag: noted, on: connection)
        let archiver = [ConsumerIdentity("ARCHIVER")!]
        for rule in [HoldRule(info.tables, required: archiver, maxLag: maxLag), HoldRule(noted: info.tables)] {
            let found = try await held(rule, on: connection)
            for (name, id) in expected {
                #expect(found["local:\(name)"] == .some(id), "\(name)", sourceLocation: location)
            }
        }
    }

    @Test func aTimeCountsByTheMarksOfWhatWasSettled() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute(
                """
                UPDATE evt_queue_state SET settled = 50, discarded = 5;
                DELETE FROM evt_queue_marks;
                INSERT INTO evt_queue_marks SELECT id, now() - age - interval '3 seconds', now() - age FROM (VALUES
                    (10, interval '3 hours'), (20, '2 hours'), (30, '1 hour'), (40, '1 minute'), (50, '0')) m (id, age);
                INSERT INTO evt_consumers (ident, last_evt_id, max_lag_events, max_lag_time, verified_evt_id) VALUES
                    ('local:ARCHIVER', 45, NULL, NULL, 5), ('local:GONE', 4, NULL, NULL, 0), ('local:OLD', 7, NULL, NULL, 0),
                    ('local:NEAR', 33, NULL, NULL, 0), ('local:SHORT', 7, NULL, '5 minutes', 0),
                    ('local:BOTH', 7, 15, '1 minute', 0), ('local:EVENTS', 7, 15, NULL, 0),
                    ('local:EVER', 7, NULL, '90000000 years', 0), ('local:NONE', 7, 999999999999999999, NULL, 0);
                UPDATE evt_consumers SET verified_all = true WHERE ident = 'local:ARCHIVER'
                """, on: url)
            try await TestDatabase.connected(to: url) { connection in
                let always: [String: Int64?] = [
                    "ARCHIVER": 45, "GONE": nil, "SHORT": 30, "BOTH": 35, "EVENTS": 35, "EVER": 7, "NONE": 7,
                ]
                func with(_ old: Int64, _ near: Int64) -> [String: Int64?] { always.merging(["OLD": old, "NEAR": near]) { $1 } }
                try await check(nil, noted: nil, on: connection, with(7, 33))
                try await check(.time(.seconds(4 * 3600)), noted: "4h", on: connection, with(7, 33))
                try await check(.time(.seconds(150 * 60)), noted: "150m", on: connection, with(10, 33))
                try await check(.time(.seconds(90 * 60)), noted: "90m", on: connection, with(20, 33))
                try await check(.time(.milliseconds(30_500)), noted: "30500ms", on: connection, with(40, 40))
                try await check(.time(.seconds(86_400)), noted: "1d", on: connection, with(7, 33))
                try await check(.events(20), noted: "20", on: connection, with(30, 33))
                // What nobody has yet noted as settled is not.
                try await connection.script("UPDATE evt_queue_state SET settled = 20")
                try await check(.events(10), noted: "10", on: connection, ["OLD": 10, "NEAR": 33])
            }
        }
    }

    @Test func whereNoArchiveHasAllTypesEachConsumerIsWaitedFor() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute(
                """
                UPDATE evt_queue_state SET settled = 100, discarded = 20;
                INSERT INTO evt_consumers (ident, last_evt_id, want, verified_evt_id) VALUES
                    ('local:ARCHIVER', 100, '{A,B}', 9), ('local:OTHER', 100, '{C,D,A}', 9),
                    ('local:ALL', 30, NULL, 0), ('local:SOME', 30, '{C,A}', 0), ('local:ELSE', 30, '{B,D}', 0),
                    ('local:GONE', 10, '{B}', 0), ('local:BEFORE', 10, '{E}', 0)
                """, on: url)
            try await TestDatabase.connected(to: url) { connection in
                let info = try await StreamInfo.load(.standard, from: connection)
                let both = ["ARCHIVER", "OTHER"].map { ConsumerIdentity($0)! }
                func held(_ required: [ConsumerIdentity]) async throws -> [String: Int64?] {
                    try await self.held(HoldRule(info.tables, required: required, maxLag: .events(10)), on: connection)
                }
                // What archivers say they want is not what was compared.
                let waited: [String: Int64?] = [
                    "local:ARCHIVER": 100, "local:OTHER": 100, "local:ALL": 30, "local:SOME": 30, "local:ELSE": 30,
                    "local:GONE": 10, "local:BEFORE": 10,
                ]
                try await connection.script("UPDATE evt_consumers SET want = NULL WHERE ident = 'local:OTHER'")
                #expect(try await held(both) == waited)
                try await connection.script("UPDATE evt_consumers SET verified_all = true WHERE ident = 'local:OTHER'")
                #expect(try await held([both[0]])["local:SOME"] == .some(30))
                // Without a required archive each consumer holds, as ever.
                #expect(try await held([])["local:GONE"] == .some(10))
                #expect(try await held([])["local:SOME"] == .some(30))
                let all = try await held(both)
                #expect(all["local:ALL"] == .some(90) && all["local:ELSE"] == .some(90) && all["local:BEFORE"] == .some(nil))
            }
        }
    }

    @Test func whereNobodyHoldsAnythingNothingGoes() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute(
                "INSERT INTO evt_queue (type, data) SELECT 'X', '1' FROM generate_series(1, 50)", on: url)
            try await TestDatabase.connected(to: TestDatabase.url(url, as: .discarder)) { connection in
                let info = try await StreamInfo.load(.standard, from: connection)
                let rule = HoldRule(info.tables, required: [ConsumerIdentity("ARCHIVER")!], maxLag: .events(5))
                let store = DiscardStore(info, rule: rule)
                func triesInVain() async throws {
                    #expect(try await store.look(on: connection).stream.confirmed == nil)
                    #expect(
                        try await store.delete(0, from: EventID(1), through: EventID(50), limit: 100, on: connection) == 0)
                    let refusal = try await store.empty(0, through: EventID(50), allowed: EventID(.max), on: connection)
                    #expect(refusal == .impossible)
                }
                try await triesInVain()
                // All there are read from the archive, and the archiver is gone.
                try await TestDatabase.execute(
                    """
                    INSERT INTO evt_consumers (ident, last_evt_id, verified_all) VALUES ('local:GONE', 3, false), ('local:ARCHIVER', 50, true);
                    UPDATE evt_queue_state SET discarded = 4, settled = 50;
                    """, on: url)
                #expect(try await store.look(on: connection).stream.confirmed == EventID(50))
                try await TestDatabase.execute("DELETE FROM evt_consumers WHERE ident = 'local:ARCHIVER'", on: url)
                // It may be the only one that has archived what GONE wants: then that holds all again.
                #expect(try await store.look(on: connection).stream.confirmed == EventID(3))
                try await TestDatabase.execute("DELETE FROM evt_consumers", on: url)
                try await triesInVain()
            }
            #expect(try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: url) == 50)
        }
    }

    @Test func aNameThatLooksLikeSQLIsAName() async throws {
        try await TestDatabase.with(.active) { url in
            let name = "a$$; DROP TABLE evt_queue; --'\\:ARCHIVER"
            try await TestDatabase.connected(to: url) { connection in
                let info = try await StreamInfo.load(.standard, from: connection)
                try await connection.script("INSERT INTO evt_queue (type, data) SELECT 'X', '1' FROM generate_series(1, 5)")
                try await connection.query("INSERT INTO evt_consumers (ident, last_evt_id) VALUES ($1, 7)", [.text(name)])
                let rule = HoldRule(info.tables, required: [ConsumerIdentity(name)!], maxLag: .events(1))
                let store = DiscardStore(info, rule: rule)
                #expect(try await store.look(on: connection).stream.confirmed == EventID(7))
                #expect(try await store.empty(0, through: EventID(7), allowed: EventID(.max), on: connection) == nil)
                #expect(try await store.look(on: connection).discarded == EventID(7))
            }
        }
    }
}
