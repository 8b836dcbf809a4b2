import LibPQ
import Testing

@Suite(.serialized) struct ParameterTests {
    @Test(arguments: ["", "plain", "it's \"quoted\" \\ and $1", "äöü 日本語 🐘", "line\nbreak\ttab", " "])
    func textArrivesUnchanged(text: String) async throws {
        try await withConnection { connection, _ in
            let rows = try await connection.query(
                "SELECT $1::text, octet_length($1::text), $2::text", [.text(text), .utf8(Array(text.utf8))])
            #expect(rows.string(0, 0) == text)
            #expect(rows.int(0, 1) == Int64(text.utf8.count))
            #expect(rows.string(0, 2) == text)
        }
    }

    @Test(arguments: [0, 1, -1, Int64.max, Int64.min])
    func integersArriveUnchanged(number: Int64) async throws {
        try await withConnection { connection, _ in
            let rows = try await connection.query("SELECT $1::bigint", [.int8(number)])
            #expect(rows.int(0, 0) == number)
        }
    }

    @Test func booleansArriveUnchanged() async throws {
        try await withConnection { connection, _ in
            let rows = try await connection.query("SELECT $1::bool, $2::bool", [.bool(true), .bool(false)])
            #expect(rows.bool(0, 0) == true)
            #expect(rows.bool(0, 1) == false)
        }
    }

    @Test func nullIsNotTheEmptyString() async throws {
        try await withConnection { connection, _ in
            let rows = try await connection.query(
                "SELECT $1::text, $2::text, $3::text, $4::bigint",
                [.null, .optional(nil), .optional(""), .null])
            #expect([0, 1, 3].allSatisfy { rows.isNull(0, $0) })
            #expect(!rows.isNull(0, 2))
            #expect(rows.string(0, 0) == nil)
            #expect(rows.string(0, 2) == "")
            #expect(rows.int(0, 3) == nil)
            #expect(rows.bool(0, 0) == nil)
            #expect(rows.bytes(0, 0).isEmpty)
        }
    }

    @Test func manyParametersOfMixedKindsKeepTheirPlaces() async throws {
        try await withConnection { connection, _ in
            let parameters: [Parameter] = (0..<600).map { index in
                switch index % 4 {
                case 0: .text("t\(index)")
                case 1: .int8(Int64(index))
                case 2: .null
                default: .bool(index % 8 == 3)
                }
            }
            let types = ["text", "bigint", "text", "bool"]
            let columns = (0..<600).map { "$\($0 + 1)::\(types[$0 % 4])" }.joined(separator: ",")
            let rows = try await connection.query(Statement("SELECT \(columns)"), parameters)
            let expected: [String?] = (0..<600).map { index in
                switch index % 4 {
                case 0: "t\(index)"
                case 1: "\(index)"
                case 2: nil
                default: index % 8 == 3 ? "t" : "f"
                }
            }
            #expect((0..<600).map { rows.string(0, $0) } == expected)
        }
    }

    @Test func arraysArriveElementForElement() async throws {
        let odd = ["", "NULL", "{}", "a,b", "\"", "\\", "'", " ", "{\"x\": [1]}", "é\n", "🐘"]
        try await withConnection { connection, _ in
            let rows = try await connection.query(
                "SELECT element, element IS NULL FROM unnest($1::text[]) WITH ORDINALITY AS a(element, n) ORDER BY n",
                [.strings(odd)])
            #expect((0..<rows.count).map { rows.string($0, 0) } == odd)
            #expect((0..<rows.count).allSatisfy { rows.bool($0, 1) == false })
        }
    }

    @Test func emptyArraysAreArraysNotNull() async throws {
        try await withConnection { connection, _ in
            let rows = try await connection.query(
                "SELECT $1::text[] = '{}', $2::bigint[] = '{}', cardinality($1::text[]), 'x' = ANY($1::text[])",
                [.textArray([]), .int8Array([])])
            #expect(rows.bool(0, 0) == true)
            #expect(rows.bool(0, 1) == true)
            #expect(rows.int(0, 2) == 0)
            #expect(rows.bool(0, 3) == false)
        }
    }

    @Test func integerArraysKeepOrderAndExtremes() async throws {
        let numbers = [Int64.min, -1, 0, 1, Int64.max] + (0..<5000).map { Int64($0) * 1_000_003 }
        try await withConnection { connection, _ in
            let rows = try await connection.query(
                "SELECT element FROM unnest($1::bigint[]) WITH ORDINALITY AS a(element, n) ORDER BY n",
                [.int8Array(numbers)])
            #expect((0..<rows.count).map { rows.int($0, 0) } == numbers)
            let subscript_ = try await connection.value("SELECT ($1::bigint[])[1]", [.int8Array([7, 8])])
            #expect(subscript_ == "7")
        }
    }

    @Test func binaryResultsAreInNetworkByteOrder() async throws {
        try await withConnection { connection, _ in
            let statement = Statement(
                "SELECT $1::bigint, $2::bigint, 'text'::text, '\\x00ff'::bytea, NULL::bigint,"
                    + " timestamptz '2000-01-01 00:00:01+00'",
                binaryResults: true)
            let rows = try await connection.query(statement, [.int8(.min), .int8(258)])
            #expect(rows.binaryInt8(0, 0) == .min)
            #expect(rows.binaryInt8(0, 1) == 258)
            #expect(rows.string(0, 2) == "text")
            #expect(Array(rows.bytes(0, 3)) == [0, 255])
            #expect(rows.isNull(0, 4))
            #expect(rows.binaryInt8(0, 4) == 0)
            #expect(rows.binaryInt8(0, 5) == 1_000_000, "microseconds since 2000")
        }
    }

    @Test func rowsTellTheirShape() async throws {
        try await withConnection { connection, _ in
            let rows = try await connection.query("SELECT n AS first, 'x' AS \"Second One\" FROM generate_series(1, 3) n")
            #expect(rows.count == 3)
            #expect(rows.columnCount == 2)
            #expect(rows.columnName(0) == "first")
            #expect(rows.columnName(1) == "Second One")
            let none = try await connection.query("SELECT 1 WHERE false")
            #expect(none.count == 0)
            #expect(none.columnCount == 1)
            let empty = try await connection.query("")
            #expect(empty.count == 0)
        }
    }

    @Test func affectedCountsTheRowsTouched() async throws {
        try await withConnection { connection, _ in
            try await connection.script("CREATE TABLE t (n bigint)")
            let inserted = try await connection.query("INSERT INTO t SELECT generate_series(1, 10)")
            let updated = try await connection.query("UPDATE t SET n = n WHERE n <= 4")
            let deleted = try await connection.query("DELETE FROM t WHERE n = 100")
            let created = try await connection.query("CREATE TABLE u ()")
            #expect([inserted, updated, deleted, created].map(\.affected) == [10, 4, 0, 0])
        }
    }

    @Test func rowsOutliveTheConnection() async throws {
        let rows = try await withConnection { connection, _ in try await connection.query("SELECT 'kept'") }
        #expect(rows.string(0, 0) == "kept")
    }

    @Test func aLargeValueGoesBothWays() async throws {
        let text = String(repeating: "0123456789abcdef", count: 1 << 19)
        try await withConnection { connection, _ in
            let echoed = try await connection.value("SELECT $1::text", [.text(text)])
            #expect(echoed == text)
        }
    }
}
