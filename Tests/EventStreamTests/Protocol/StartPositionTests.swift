import EventStream
import Testing

@Suite struct StartPositionTests {
    @Test func eachFormIsReadAndWritten() {
        let forms: [(String, StartPosition)] = [
            ("first", .first), ("now", .now), ("1", .after(EventID(1))),
            ("999999999999999999", .after(EventID(999_999_999_999_999_999))),
            ("2000-01-01T00:00:01Z", .since(EventTimestamp(postgres: 1_000_000))),
        ]
        for (text, start) in forms {
            #expect(StartPosition(text) == start)
            #expect(start.description == text)
        }
    }

    @Test(arguments: [
        "", "0", "01", "-1", "+1", " 1", "1 ", "1.0", "1e3", "9999999999999999999", "First", "FIRST", "head", "2000-01-01",
        "2000-01-01T00:00:01",
        "2000-01-01 00:00:01Z", "2000-02-30T00:00:00Z", "2000-01-01T00:00:00.5Z", "1\u{0}", "١",
    ])
    func nothingElseIs(_ text: String) {
        #expect(StartPosition(text) == nil)
    }
}
