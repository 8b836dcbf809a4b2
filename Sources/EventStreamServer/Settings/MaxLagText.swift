package import EventStreamDatabase

extension MaxLag {
    private static let events: ClosedRange<Int64> = 1...1_000_000_000_000
    private static let times: ClosedRange<Duration> = .seconds(1) ... .seconds(3650 * 86_400)

    /// Reads a number of events, such as `1000000`, or a duration, such as `2h`.
    package init?(text: String) {
        if text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
            guard let events = Int64(text), MaxLag.events.contains(events) else { return nil }
            self = .events(events)
        } else {
            guard let time = Duration(text: text), MaxLag.times.contains(time) else { return nil }
            self = .time(time)
        }
    }

    /// What ``init(text:)`` reads, in words.
    package static let range =
        "\(events.lowerBound) to \(events.upperBound) events, or \(times.lowerBound.text) to \(times.upperBound.text)"

    /// As ``init(text:)`` reads it; `none` for no limit.
    package var text: String {
        switch self {
        case .unlimited: "none"
        case .events(let events): "\(events)"
        case .time(let time): time.text
        }
    }
}

extension SettingKind where Value == MaxLag {
    static let maxLag = SettingKind(range: MaxLag.range) {
        $0.text
    } read: { text, _ in
        MaxLag(text: text)
    }
}
