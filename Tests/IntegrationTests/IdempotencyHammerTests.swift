import EventStream
import LibPQ
import TestSupport
import Testing

/// Many clients that repeat what they are not sure of, while connections are killed and keys are removed.
@Suite(.serialized) struct IdempotencyHammerTests {
    private static let (clients, keys, window) = (100, 3000, "1 s")

    /// Hands out keys, several times each, and counts what came of them.
    private actor Work {
        private var next = 0
        private var again: [Int] = []
        private(set) var answers: [Int: Set<Int>] = [:]
        var isDone: Bool { next >= keys * 2 }

        func take() -> Int? {
            guard again.isEmpty else { return again.removeFirst() }
            guard !isDone else { return nil }
            next += 1
            // What others work on at this moment, or have done a second ago.
            return min(keys - 1, max(0, next / 2 - Int.random(in: 0..<(next % 2 == 0 ? 40 : 400))))
        }

        func unsure(of key: Int) { again.append(key) }
        func answered(_ key: Int, _ id: Int) { answers[key, default: []].insert(id) }
    }

    @Test func noKeyIsRecordedTwiceWithinTheWindow() async throws {
        try await TestDatabase.with(.active) { url in
            let work = Work()
            let app = TestDatabase.url(url, as: .app)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<Self.clients { group.addTask { await Self.record(work, on: app) } }
                group.addTask {
                    while await !work.isDone {
                        // What is killed in a commit may be committed or not.
                        try await TestDatabase.execute(
                            """
                            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                            WHERE datname = current_database() AND usename = 'evt_test_app' ORDER BY random() LIMIT 3
                            """, on: url)
                        _ = try? await TestDatabase.execute("SELECT evt_queue_rotate('\(Self.window)')", on: url)
                        try await Task.sleep(for: .milliseconds(20))
                    }
                }
                try await group.waitForAll()
            }
            // An event gets its time before its commit, and the window begins with that.
            let early = try await TestDatabase.number(
                """
                SELECT count(*) FROM (SELECT ts - lag(ts) OVER (PARTITION BY data::text ORDER BY id) AS since FROM evt_queue) s
                WHERE since < interval '\(Self.window)'
                """, on: url)
            #expect(early == 0)
            // Each id that was answered is that of an event with the key.
            let recorded = try await TestDatabase.rows("SELECT data, id FROM evt_queue", on: url)
            let ids = Dictionary(grouping: recorded) { Int($0[0]!)! }.mapValues { Set($0.map { Int($0[1]!)! }) }
            let answers = await work.answers
            #expect(answers.count > Self.keys / 2 && answers.allSatisfy { ids[$0.key]?.isSuperset(of: $0.value) == true })
        }
    }

    private static func record(_ work: Work, on url: String) async {
        // A connection lives until it is killed.
        while await !work.isDone {
            try? await TestDatabase.connected(to: url) { connection in
                while let key = await work.take() {
                    do {
                        let call = Statement("SELECT evt_add('ONCE', '\(key)', idempotency_key => 'k\(key)')")
                        if Int.random(in: 0..<10) == 0 {
                            for sql in ["BEGIN", call, "ROLLBACK"] as [Statement] { try await connection.query(sql) }
                        }
                        await work.answered(key, Int(try await connection.query(call).int(0, 0) ?? 0))
                    } catch {
                        await work.unsure(of: key)
                        throw error
                    }
                }
            }
        }
    }
}
