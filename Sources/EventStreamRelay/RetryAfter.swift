import EventStream

/// The header of an answer that says when to ask again (RFC 9110, section 10.2.3): so many seconds, or a date.
enum RetryAfter {
    /// What a server may ask for.
    static let range = Duration.milliseconds(500) ... .seconds(3600)

    /// The pause within ``range``; nil for what is neither.
    ///
    /// - Parameter now: seconds since 1970.
    static func pause(_ text: String, now: Int64) -> Duration? {
        let isNumber = !text.isEmpty && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        let seconds = isNumber ? Int64(text) ?? .max : date(text).map { $0 - now }
        return seconds.map { max(range.lowerBound, .seconds(min($0, 3600))) }
    }

    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7); nobody writes the older forms any more.
    private static func date(_ text: String) -> Int64? {
        let parts = text.split(separator: " ")
        guard parts.count == 6, parts[5] == "GMT", let month = months.firstIndex(of: String(parts[2])) else { return nil }
        let wire = "\(parts[3])-\(month < 9 ? "0" : "")\(month + 1)-\(parts[1])T\(parts[4])Z"
        return EventTimestamp(wire: wire.utf8).map { $0.microseconds / 1_000_000 }
    }
}
