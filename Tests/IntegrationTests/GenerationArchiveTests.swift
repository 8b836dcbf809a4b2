import EventStream
import EventStreamDatabase
import LibPQ
import TestSupport
import Testing

/// The archive's side of an active database that went back.
@Suite struct GenerationArchiveTests {
    private static let stream = "00000000-0000-0000-0000-00000000000a"

    private static func origin(_ number: Int, of stream: String = stream, after: Int64 = 0, common: Int64? = nil) -> StreamOrigin
    {
        let generation = "00000000-0000-0000-0000-00000000000\(number)"
        return StreamOrigin(
            generation: StreamGeneration(stream: stream, id: generation, start: EventID(Int64(number) * 1000)),
            after: EventID(after),
            common: EventID(common ?? after))
    }

    private static func events(_ ids: ClosedRange<Int64>, of life: Int64) -> ArraySlice<Event> {
        ids.map { id in
            Event(
                id: EventID(id), type: EventType("ONE")!, data: .null,
                timestamp: EventTimestamp(microseconds: 1_700_000_000_000_000 + id * 1000 + life))
        }[...]
    }

    private static func with(_ body: nonisolated(nonsending) @Sendable (HistoryStore, Connection) async throws -> Void)
        async throws
    {
        try await TestDatabase.with(.warehouse) { url in
            try await TestDatabase.connected(to: url) { connection in
                let archiver = ConsumerIdentity(component: .archiver)
                try await body(try await HistoryStore.load(.standard, archiver: archiver, from: connection), connection)
            }
        }
    }

    /// The events 1 to 10 of the first generation are there.
    private static func archived(_ store: HistoryStore, _ connection: Connection) async throws -> HistoryStore.Standing {
        let standing = try await store.follow(Self.origin(1), from: try await store.begin(.all, on: connection), on: connection)
        _ = try await store.append(events(1...10, of: 1), from: standing, comparing: false, on: connection)
        return try await store.standing(on: connection)!
    }

    private static func ids(_ table: String, on connection: Connection) async throws -> [Int64] {
        let rows = try await connection.query(Statement("SELECT id FROM \(table) ORDER BY id"))
        return (0..<rows.count).compactMap { rows.int($0, 0) }
    }

    @Test func whatIsLostIsSetAsideOnceAndWhatIsTheSameStays() async throws {
        try await Self.with { store, connection in
            var standing = try await store.begin(.all, on: connection)
            standing = try await store.follow(Self.origin(1), from: standing, on: connection)
            #expect(!standing.hasDoubtful, "an archive of before has no generation yet")
            _ = try await store.append(Self.events(1...10, of: 1), from: standing, comparing: false, on: connection)
            standing = try await store.standing(on: connection)!
            standing = try await store.follow(Self.origin(2, after: 5), from: standing, on: connection)
            #expect(standing.position == EventID(5) && standing.doubtful == EventID(10))
            // 6 and 7 are there still, 8 is another event, 9 and 10 are lost.
            let arriving =
                Array(Self.events(6...7, of: 1)) + Array(Self.events(8...8, of: 2)) + Array(Self.events(20...20, of: 2))
            let result = try await store.append(arriving[...], from: standing, comparing: true, on: connection)
            #expect(result == .copied(2, lost: 3))
            #expect(try await Self.ids("evt_history", on: connection) == [1, 2, 3, 4, 5, 6, 7, 8, 20])
            #expect(try await Self.ids("evt_history_lost", on: connection) == [8, 9, 10])
            // Archived again from an id before all that: what has been discarded in the stream meanwhile is not lost.
            try await store.rewind(to: EventID(2), on: connection)
            standing = try await store.standing(on: connection)!
            #expect(!standing.hasDoubtful)
            _ = try await store.append(Self.events(20...20, of: 2), from: standing, comparing: true, on: connection)
            #expect(try await Self.ids("evt_history", on: connection) == [1, 2, 3, 4, 5, 6, 7, 8, 20])
        }
    }

    /// Events that an archiver does not want take its consumer past those that are lost before it hears of anything.
    @Test func whatIsLostBetweenUnwantedEventsIsSetAsideToo() async throws {
        try await Self.with { store, connection in
            var standing = try await Self.archived(store, connection)
            standing = try await store.follow(Self.origin(2, after: 1000, common: 5), from: standing, on: connection)
            let result = try await store.append(Self.events(1001...1001, of: 2), from: standing, comparing: true, on: connection)
            #expect(result == .copied(1, lost: 5))
            #expect(try await Self.ids("evt_history", on: connection) == [1, 2, 3, 4, 5, 1001])
        }
    }

    @Test func whatIsDoubtfulStillWhenTheNextGenerationBeginsIsSetAside() async throws {
        try await Self.with { store, connection in
            var standing = try await Self.archived(store, connection)
            standing = try await store.follow(Self.origin(2, after: 2), from: standing, on: connection)
            #expect(
                try await store.append(Self.events(3...4, of: 1), from: standing, comparing: true, on: connection)
                    == .copied(0, lost: 0))
            // Of 5 to 10, which nobody has compared yet, the next generation has nothing either.
            standing = try await store.standing(on: connection)!
            standing = try await store.follow(Self.origin(3, after: 2000, common: 2000), from: standing, on: connection)
            #expect(standing.position == EventID(4) && standing.doubtfulAfter == EventID(4) && standing.doubtful == EventID(10))
            let arriving = Self.events(2001...2001, of: 2)
            #expect(try await store.append(arriving, from: standing, comparing: true, on: connection) == .copied(1, lost: 6))
            #expect(try await Self.ids("evt_history", on: connection) == [1, 2, 3, 4, 2001])
        }
    }

    @Test func ofAWarehouseThatWasRestoredWhatIsDoubtfulIsAskedForAgain() async throws {
        try await Self.with { store, connection in
            var standing = try await Self.archived(store, connection)
            // 6 and 7 were confirmed in the next generation, too; then the warehouse was as before.
            standing = try await store.follow(Self.origin(2, after: 1000, common: 5), from: standing, on: connection)
            #expect(standing.position == EventID(5))
            let arriving = Array(Self.events(6...7, of: 1)) + Array(Self.events(1001...1001, of: 2))
            #expect(try await store.append(arriving[...], from: standing, comparing: true, on: connection) == .copied(1, lost: 3))
            #expect(try await Self.ids("evt_history", on: connection) == [1, 2, 3, 4, 5, 6, 7, 1001])
        }
    }

    @Test func aGenerationThatIsOverAndAnotherStreamAreRefused() async throws {
        try await Self.with { store, connection in
            var standing = try await store.begin(.all, on: connection)
            standing = try await store.follow(Self.origin(1), from: standing, on: connection)
            let stale = standing
            standing = try await store.follow(Self.origin(2), from: standing, on: connection)
            do {
                _ = try await store.follow(Self.origin(1), from: standing, on: connection)
                Issue.record("a generation that is over was followed")
            } catch is HistoryStore.PastGeneration {}
            do {
                let other = Self.origin(3, of: "00000000-0000-0000-0000-00000000000b")
                _ = try await store.follow(other, from: standing, on: connection)
                Issue.record("another stream was followed")
            } catch let error as StoreError {
                #expect(error.message.contains("holds another stream"))
            }
            // An archiver that has not noticed: the position is the same, the generation is not.
            let late = try await store.append(Self.events(1...1, of: 1), from: stale, comparing: false, on: connection)
            guard case .moved(let now) = late else {
                Issue.record("\(late)")
                return
            }
            #expect(now.generation == Self.origin(2).generation)
            #expect(try await Self.ids("evt_history", on: connection) == [])
        }
    }
}
