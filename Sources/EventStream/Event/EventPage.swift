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
    package func size(at index: Int, precise: Bool) -> Int {
        entries[index].end - start(of: index) + (precise ? EventPage.fractionSize : 0)
    }

    /// `,"us":` and up to six digits.
    private static let fractionSize = 12

    /// Appends events as JSON, a comma after each.
    package func append(_ range: Range<Int>, precise: Bool, to output: inout [UInt8]) {
        guard precise else {
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

/// Events chosen for one consumer: stretches of pages, put into JSON when they are sent.
package struct EventGroup: Sendable {
    private var runs: [(page: EventPage, range: Range<Int>)] = []
    private let precise: Bool
    package private(set) var count = 0
    /// Bytes of the whole as an EventList, at most.
    package private(set) var bytes = 0
    package private(set) var first: EventID?
    /// When the first one was recorded.
    package private(set) var firstTimestamp: EventTimestamp?
    package private(set) var last: EventID?
    /// Everything up to here has been looked at: what is not in the group was not wanted.
    package private(set) var through: EventID

    /// Appends the group as an EventList.
    package func append(to output: inout [UInt8]) {
        output.append(UInt8(ascii: "["))
        for (page, range) in runs { page.append(range, precise: precise, to: &output) }
        // The comma after the last one.
        if count > 0 { output.removeLast() }
        output.append(UInt8(ascii: "]"))
    }

    /// The group as an EventList.
    package var list: [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(bytes)
        append(to: &output)
        return output
    }
}

/// A message has at most 8 MiB (protocol, section 3).
package enum MessageLimit {
    /// Bytes of a message at most.
    private static let message = 8 << 20
    /// Bytes of its events, or of the data of a single event, at most: the rest is for what is around them.
    package static let events = message - 4096
}

/// How much one group may hold.
package struct GroupLimits: Hashable, Sendable {
    /// Events; 1 to 1000 (FTN18 3.1, EventList).
    package var events: Int
    /// Bytes of the EventList; a single larger event still goes, alone.
    package var bytes: Int

    package init(events: Int, bytes: Int) {
        self.events = events
        self.bytes = bytes
    }

    /// As much as a message holds.
    package static let largest = GroupLimits(events: 1000, bytes: MessageLimit.events)
}

extension EventGroup {
    /// Takes the wanted events with ids in (after, through] out of consecutive pages, as far as the limits allow.
    ///
    /// - Parameters:
    ///   - pages: in order, together covering what lies past `after`.
    ///   - known: events that are not wanted, whatever their type.
    package init(
        from pages: some Sequence<EventPage>, after: EventID, through end: EventID = EventID(.max), want: EventFilter,
        besides known: EventIDSet = EventIDSet(), precise: Bool, limits: GroupLimits
    ) {
        through = after
        self.precise = precise
        // The brackets, less the comma the last event does not have.
        bytes = 1
        for page in pages where page.through > after {
            var index = page.index(after: after)
            while index < page.entries.count {
                let entry = page.entries[index]
                guard entry.id <= end else {
                    through = max(through, end)
                    return
                }
                if want.wants(entry.type), !known.contains(entry.id) {
                    let size = page.size(at: index, precise: precise)
                    guard count < limits.events, count == 0 || bytes + size <= limits.bytes else { return }
                    add(index, of: page, size: size)
                }
                through = entry.id
                index += 1
            }
            through = max(through, min(page.through, end))
        }
    }

    @inline(__always)
    private mutating func add(_ index: Int, of page: EventPage, size: Int) {
        bytes += size
        count += 1
        let id = page.entries[index].id
        if first == nil { (first, firstTimestamp) = (id, page.entries[index].timestamp) }
        last = id
        if let run = runs.last, run.page === page, run.range.upperBound == index {
            runs[runs.count - 1].range = run.range.lowerBound..<(index + 1)
        } else {
            runs.append((page, index..<(index + 1)))
        }
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
        builder.build(through: id).append(0..<1, precise: isPrecise, to: &output)
        output.removeLast()
        return output
    }
}
