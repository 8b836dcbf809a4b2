import EventStream
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// Where a consumer begins, while others write.
@Suite struct StartResolverTests {
    private func position(of start: StartPosition, on url: String) async throws -> EventID {
        try await TestDatabase.connected(to: url) { connection in
            let admin = ConsumerAdmin(try await StreamInfo.load(.standard, from: connection))
            return try await admin.starts(nil).position(of: start, for: "local:NEW", on: connection)
        }
    }

    private func time(_ text: String) -> StartPosition { .since(EventTimestamp(wire: text.utf8)!) }

    @Test func anEventThatMayStillAppearIsBeforeNoStart() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.execute("INSERT INTO evt_queue (type, data, ts) VALUES ('OLD', '1', '2025-01-01')", on: url)
            try await TestDatabase.connected(to: url) { connection in
                try await connection.query("BEGIN")
                try await connection.query("SELECT evt_add('OPEN', '2')")
                try await TestDatabase.execute("SELECT evt_add('LATER', '3')", on: url)
                let starts = [StartPosition.now, time("2026-01-01T00:00:00Z"), time("2999-01-01T00:00:00Z")]
                for start in starts { #expect(try await position(of: start, on: url) < EventID(2)) }
                await #expect(throws: StoreError.self) { try await position(of: .after(EventID(3)), on: url) }
                try await connection.query("COMMIT")
            }
            #expect(try await position(of: .now, on: url) == EventID(3))
            #expect(try await position(of: .after(EventID(3)), on: url) == EventID(3))
            #expect(try await position(of: .first, on: url) == .none)
        }
    }

    @Test func aTimeIsBeforeTheLeastIDOfThatTimeOrLater() async throws {
        try await TestDatabase.with(.active) { url in
            // Recorded by transactions that were open for long: not in the order of the ids.
            try await TestDatabase.execute(
                """
                INSERT INTO evt_queue (type, data, ts) VALUES ('A', '1', '2026-01-02'), ('A', '2', '2026-01-01'),
                    ('A', '3', '2026-01-05'), ('A', '4', '2026-01-04 00:00:00.000001'), ('A', '5', '2026-01-06')
                """, on: url)
            let expected: [(String, Int64)] = [
                ("0000-01-01T00:00:00Z", 0), ("2026-01-01T00:00:00Z", 0), ("2026-01-02T00:00:00Z", 0),
                ("2026-01-02T00:00:01Z", 2),
                ("2026-01-05T00:00:00Z", 2), ("2026-01-05T00:00:01Z", 4), ("2026-01-06T00:00:00Z", 4),
                ("2026-01-06T00:00:01Z", 5),
                ("9999-12-31T23:59:59Z", 5),
            ]
            for (text, id) in expected { #expect(try await position(of: time(text), on: url) == EventID(id), "\(text)") }
        }
    }
}
