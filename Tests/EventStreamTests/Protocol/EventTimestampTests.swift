import EventStream
import TestSupport
import Testing

@Suite struct EventTimestampTests {
    /// A calendar by counting, year for year and month for month.
    private struct Calendar {
        /// Days from 0001-01-01 to the first of January of year index + 1.
        let yearStarts: [Int64] = (1...10_000).reduce(into: [0]) { $0.append($0.last! + (isLeap($1) ? 366 : 365)) }

        static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }
        static func days(in month: Int, of year: Int) -> Int {
            [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
        }

        /// Microseconds since 1970.
        func microseconds(_ year: Int, _ month: Int, _ day: Int, second: Int = 0, micro: Int = 0) -> Int64 {
            let days =
                yearStarts[year - 1] + (1..<month).reduce(Int64(0)) { $0 + Int64(Self.days(in: $1, of: year)) } + Int64(day - 1)
            return ((days - yearStarts[1969]) * 86_400 + Int64(second)) * 1_000_000 + Int64(micro)
        }
    }

    private func padded(_ number: Int, _ width: Int) -> String {
        String(repeating: "0", count: max(0, width - String(number).count)) + String(number)
    }

    private func text(_ year: Int, _ month: Int, _ day: Int, second: Int = 0) -> String {
        "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T"
            + "\(padded(second / 3600, 2)):\(padded(second / 60 % 60, 2)):\(padded(second % 60, 2))Z"
    }

    @Test func everyDayOfOddYearsIsWrittenAndRead() {
        let calendar = Calendar()
        for year in [1, 2, 4, 100, 400, 1582, 1600, 1899, 1900, 1969, 1970, 2000, 2023, 2024, 2100, 9999] {
            for month in 1...12 {
                for day in 1...Calendar.days(in: month, of: year) {
                    let expected = calendar.microseconds(year, month, day)
                    let wire = text(year, month, day)
                    if EventTimestamp(microseconds: expected).description != wire { Issue.record("\(wire) is written wrongly") }
                    if EventTimestamp(wire: wire.utf8)?.microseconds != expected { Issue.record("\(wire) is read wrongly") }
                }
            }
        }
    }

    @Test func randomDatesAreWrittenAndRead() {
        let calendar = Calendar()
        var random = SplitMix(seed: 17)
        for _ in 0..<5000 {
            let (year, month) = (random.pick(1...9999), random.pick(1...12))
            let day = random.pick(1...Calendar.days(in: month, of: year))
            let (second, micro) = (random.below(86_400), random.below(1_000_000))
            let timestamp = EventTimestamp(microseconds: calendar.microseconds(year, month, day, second: second, micro: micro))
            let wire = text(year, month, day, second: second)
            #expect(timestamp.description == wire)
            #expect(timestamp.fraction == Int64(micro))
            #expect(EventTimestamp(wire: wire.utf8, fraction: Int64(micro)) == timestamp)
        }
    }

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0), ("1969-12-31T23:59:59Z", -1), ("2000-01-01T00:00:00Z", 946_684_800),
        ("2024-02-29T12:34:56Z", 1_709_210_096), ("0001-01-01T00:00:00Z", -62_135_596_800),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ])
    func wellKnownMomentsAreRight(_ wire: String, _ seconds: Int64) {
        #expect(EventTimestamp(wire: wire.utf8)?.microseconds == seconds * 1_000_000)
        #expect(EventTimestamp(microseconds: seconds * 1_000_000 + 999_999).description == wire)
    }

    @Test(arguments: [
        "", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00z", "2024-01-01T00:00:00.0Z",
        "2024-00-01T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-00T00:00:00Z", "2024-01-32T00:00:00Z", "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z", "2024-02-30T00:00:00Z", "2024-04-31T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:60Z", "12024-01-01T00:00:0Z", "-024-01-01T00:00:00Z", "2024-1-001T00:00:00Z", "２024-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z ", "+024-01-01T00:00:00Z",
    ])
    func whatIsNoMomentIsRefused(_ wire: String) {
        #expect(EventTimestamp(wire: wire.utf8) == nil)
    }

    @Test func postgresCountsFromTheYear2000() {
        #expect(EventTimestamp(postgres: 0).description == "2000-01-01T00:00:00Z")
        #expect(EventTimestamp(postgres: -1).description == "1999-12-31T23:59:59Z")
        #expect(EventTimestamp(postgres: -1).fraction == 999_999)
        #expect(EventTimestamp(postgres: 12_345).postgres == 12_345)
    }

    @Test func fractionsOutOfRangeAreRefused() {
        for fraction in [-1, 1_000_000, Int64.max] {
            #expect(EventTimestamp(wire: "2024-01-01T00:00:00Z".utf8, fraction: fraction) == nil)
        }
    }
}
