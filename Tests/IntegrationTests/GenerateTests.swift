import EventStream
import EventStreamClient
import LibPQ
import TestSupport
import Testing

/// Recording events: the seed's DBGenService suite, and what surrounds it.
@Suite(.serialized) struct GenerateTests {

    @Test func encodesValuesOfTheApplication() async throws {
        struct Login: Encodable { let user: Int }
        try await Pipeline.with([.generator]) { pipeline in
            _ = try await pipeline.generator().addEvent("USR_LOGIN", Login(user: 17))
            #expect(try await TestDatabase.rows("SELECT data FROM evt_queue", on: pipeline.active) == [["{\"user\":17}"]])
        }
    }

    @Test func concurrentRequestsGetIdsInTheOrderOfTheCalls() async throws {
        try await Pipeline.with([.generator]) { pipeline in
            let generator = try await pipeline.generator()
            let calls = (0..<2000).map { number in
                Task.immediate { try await generator.addEvent("PIPELINED", RawJSON("\(number)")) }
            }
            var ids: [EventID] = []
            for call in calls { ids.append(try await call.value) }
            #expect(ids == ids.sorted())
            let data = try await TestDatabase.rows("SELECT data FROM evt_queue ORDER BY id", on: pipeline.active)
            #expect(data.map { $0[0]! } == (0..<2000).map(String.init))
        }
    }

    @Test func addsEventsToATransactionOfTheApplications() async throws {
        try await TestDatabase.with(.active) { url in
            try await TestDatabase.connected(to: url) { connection in
                try await connection.transaction {
                    for data in ["123", "321"] {
                        let insert = try EventInsert(type: "XFER_EVT", data: data)
                        try await connection.query(.init(insert.sql), insert.binds.map { .text($0) })
                    }
                }
                _ = try? await connection.transaction {
                    let insert = try EventInsert(type: "XFER_EVT", data: "0")
                    try await connection.query(.init(insert.sql), insert.binds.map { .text($0) })
                    throw CancellationError()
                }
                #expect(throws: EventStreamError.self) { try EventInsert(type: "Not a type", data: "1") }
                #expect(throws: EventStreamError.self) { try EventInsert(type: "XFER_EVT", data: "{") }
            }
            let rows = try await TestDatabase.rows("SELECT data FROM evt_queue ORDER BY id", on: url)
            #expect(rows == [["123"], ["321"]])
        }
    }

    @Test(arguments: [
        "SELECT evt_add('lower', '1')", "SELECT evt_add('SEVENTEEN_LETTERS', '1')", "SELECT evt_add('', '1')",
        "SELECT evt_add('A', NULL)", "SELECT evt_add(NULL, '1')",
        "INSERT INTO evt_queue (type, data, ts) VALUES ('lower', '1', now())",
        "INSERT INTO evt_queue (type, data) VALUES ('', '1')", "INSERT INTO evt_queue (type, data) VALUES (E'A\\n', '1')",
        "INSERT INTO evt_queue (type, data) VALUES ('SEVENTEEN_LETTERS', '1')",
        "INSERT INTO evt_queue (type, data) VALUES (NULL, '1')", "INSERT INTO evt_queue (type, data) VALUES ('A', NULL)",
        "INSERT INTO evt_queue (type, data, ts) VALUES ('A', '1', 'infinity')",
        "INSERT INTO evt_queue (type, data, ts) VALUES ('A', '1', '10000-01-01')",
        "INSERT INTO evt_queue (type, data, ts) VALUES ('A', '1', '0001-12-31 BC')",
        "INSERT INTO evt_queue (type, data, ts) VALUES ('A', '1', NULL)",
        "INSERT INTO evt_queue (id, type, data) VALUES (0, 'A', '1')",
        "INSERT INTO evt_queue (id, type, data) VALUES (-1, 'A', '1')",
        "INSERT INTO evt_queue (id, type, data) VALUES (1000000000000000000, 'A', '1')",
        "INSERT INTO evt_queue (id, type, data) VALUES (NULL, 'A', '1')",
        "INSERT INTO evt_queue (type, data) VALUES ('BIG', to_json(repeat('x', 8 * 1024 * 1024)))",
        "SELECT evt_add('BIG', to_json(repeat('x', 8 * 1024 * 1024)))",
    ])
    func theDatabaseItselfRefusesWhatCannotTravel(sql: String) async throws {
        try await TestDatabase.with(.active) { url in
            await #expect(throws: (any Error).self) { try await TestDatabase.execute(sql, on: url) }
            let recorded = try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: url)
            #expect(recorded == 0)
        }
    }
}
