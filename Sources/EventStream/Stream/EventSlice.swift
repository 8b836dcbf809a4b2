import Crypto

/// One of the parts a consumer's events are divided into by their keys (protocol, section 8.5).
package struct EventSlice: Hashable, Sendable, CustomStringConvertible {
    /// So many a consumer may have.
    package static let counts = 2...256

    package let index: Int
    package let count: Int

    package init?(_ index: Int, of count: Int) {
        guard EventSlice.counts.contains(count), (0..<count).contains(index) else { return nil }
        (self.index, self.count) = (index, count)
    }

    /// Reads `index.count`.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let index = Int(parts[0]), let count = Int(parts[1]), let slice = EventSlice(index, of: count),
            slice.description == text
        else { return nil }
        self = slice
    }

    package var description: String { "\(index).\(count)" }

    package func contains(_ number: UInt64) -> Bool { number % UInt64(count) == UInt64(index) }

    /// What decides of an event's slice, by its key; by the digits of its id if it has none.
    package static func number(of text: some Sequence<UInt8>) -> UInt64 {
        SHA256.hash(data: Array(text)).prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The same in SQL: which of so many slices a row's event is in.
    ///
    /// - Parameter row: the table's alias and a dot, or nothing.
    package static func sql(of count: Int, row: String = "") -> String {
        // A bigint is signed: where the number is beyond it, 2^64 is missing.
        let missing = (UInt64.max % UInt64(count) + 1) % UInt64(count)
        let number = """
            ('x' || encode(substr(sha256(convert_to(COALESCE(\(row)key, \(row)id::text), 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint
            """
        return "((\(number) % \(count) + CASE WHEN \(number) < 0 THEN \(missing) + \(count) ELSE 0 END) % \(count))"
    }
}
