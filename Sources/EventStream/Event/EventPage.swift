/// A run of consecutive rows of the stream, encoded once for all who will get them.
///
/// The JSON of every event lies in one buffer, each followed by a comma, so that neighbours go into a group as one piece.
/// Pages are immutable and shared; a group for a consumer is copied out of one or more of them.
package final class EventPage: Sendable {
    package struct Entry: Sendable {
        package let id: EventID
        package let type: EventType
        package let timestamp: EventTimestamp
        /// Where the event's JSON ends in the buffer; it starts where the one before ends.
        package let end: Int
    }

    /// Bytes an event has on the wire besides its data, at most.
    package static let overhead = 102

    package let entries: [Entry]
    private let buffer: [UInt8]
    /// The page tells of every event with an id in (after, through].
    package let after: EventID
    package let through: EventID

    init(entries: [Entry], buffer: [UInt8], after: EventID, through: EventID) {
        self.entries = entries
        self.buffer = buffer
        self.after = after
        self.through = through
    }

    package var byteCount: Int { buffer.count + entries.count * MemoryLayout<Entry>.stride }
    package var count: Int { entries.count }

    /// The index of the first entry past `id`.
    package func index(after id: EventID) -> Int {
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].id <= id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    @inline(__always)
    private func start(of index: Int) -> Int { index == 0 ? 0 : entries[index - 1].end }

    /// Bytes one event takes in a group at most, separator included.
    @inline(__always)
    package func size(at index: Int, fields: EventFields) -> Int {
        entries[index].end - start(of: index) + (fields.contains(.microseconds) ? EventPage.fractionSize : 0)
    }

    /// `,"us":` and up to six digits.
    private static let fractionSize = 12

    /// Appends events as JSON, a comma after each.
    package func append(_ range: Range<Int>, fields: EventFields, to output: inout [UInt8]) {
        guard fields.contains(.microseconds) else {
            output.append(contentsOf: buffer[start(of: range.lowerBound)..<start(of: range.upperBound)])
            return
        }
        for index in range {
            output.append(contentsOf: buffer[start(of: index)..<(entries[index].end - 2)])
            output.append(contentsOf: ",\"us\":".utf8)
            output.append(decimal: entries[index].timestamp.fraction)
            output.append(contentsOf: "},".utf8)
        }
    }
}

/// Encodes rows into a page.
package struct EventPageBuilder {
    private var entries: [EventPage.Entry] = []
    private var buffer: [UInt8] = []
    private let after: EventID
    private var lastSecond: Int64 = .min
    private var lastTimestamp: [UInt8] = []

    package init(after: EventID, capacity: Int = 0) {
        self.after = after
        entries.reserveCapacity(capacity)
        buffer.reserveCapacity(capacity * 192)
    }

    package var isEmpty: Bool { entries.isEmpty }
    package var lastID: EventID? { entries.last?.id }

    /// - Parameters:
    ///   - type: the type's text; it was checked when the event was recorded.
    ///   - data: the data's JSON text, copied as it is.
    package mutating func append(
        id: EventID, type: UnsafeRawBufferPointer, data: UnsafeRawBufferPointer, timestamp: EventTimestamp
    ) {
        guard let eventType = EventType(wire: type) else { return }
        buffer.append(contentsOf: "{\"id\":\"".utf8)
        buffer.append(decimal: id.rawValue)
        buffer.append(contentsOf: "\",\"type\":\"".utf8)
        buffer.append(contentsOf: type)
        buffer.append(contentsOf: "\",\"data\":".utf8)
        buffer.append(contentsOf: data)
        buffer.append(contentsOf: ",\"ts\":\"".utf8)
        if timestamp.seconds != lastSecond {
            lastSecond = timestamp.seconds
            lastTimestamp = timestamp.wire
        }
        buffer.append(contentsOf: lastTimestamp)
        buffer.append(contentsOf: "\"},".utf8)
        entries.append(.init(id: id, type: eventType, timestamp: timestamp, end: buffer.count))
    }

    /// - Parameter through: up to where the rows are complete; at least the last row's id.
    package func build(through: EventID) -> EventPage {
        EventPage(entries: entries, buffer: buffer, after: after, through: max(through, lastID ?? after))
    }
}

extension [UInt8] {
    /// Appends a number's digits, without a String in between.
    @inline(__always)
    mutating func append(decimal value: Int64) {
        guard value > 9 else {
            guard value >= 0 else { return append(contentsOf: String(value).utf8) }
            return append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value))
        }
        var (rest, first) = (UInt64(value), 20)
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            while rest > 0 {
                first -= 1
                digits[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            }
            append(contentsOf: digits[first...])
        }
    }
}

extension Event {
    /// The event as its wire object.
    package var json: [UInt8] {
        var builder = EventPageBuilder(after: .none)
        data.bytes.withUnsafeBytes { data in
            type.utf8.withUnsafeBytes { builder.append(id: id, type: $0, data: data, timestamp: timestamp) }
        }
        var output: [UInt8] = []
        builder.build(through: id).append(0..<1, fields: isPrecise ? .microseconds : [], to: &output)
        output.removeLast()
        return output
    }
}
