/// A run of consecutive rows of the stream, encoded once for all who will get them.
///
/// The JSON of every event lies in one buffer, without its closing brace, because `precise` decides what comes before
/// that. Pages are immutable and shared; a group for a consumer is copied out of one or more of them.
public final class EventPage: Sendable {
    package struct Entry: Sendable {
        package let id: EventID
        package let type: EventType
        /// Microseconds of the second of `ts`.
        package let fraction: Int32
        /// Where the event's JSON ends in the buffer; it starts where the one before ends.
        package let end: Int
    }

    package let entries: [Entry]
    private let buffer: [UInt8]
    /// The page tells of every event with an id in (after, through].
    public let after: EventID
    public let through: EventID

    init(entries: [Entry], buffer: [UInt8], after: EventID, through: EventID) {
        self.entries = entries
        self.buffer = buffer
        self.after = after
        self.through = through
    }

    public var byteCount: Int { buffer.count + entries.count * MemoryLayout<Entry>.stride }
    public var count: Int { entries.count }

    /// The index of the first entry past `id`.
    package func index(after id: EventID) -> Int {
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].id <= id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Bytes one event takes in a group, separator included.
    @inline(__always)
    package func size(at index: Int, precise: Bool) -> Int {
        entries[index].end - (index == 0 ? 0 : entries[index - 1].end) + (precise ? 15 : 2)
    }

    /// Appends one event as JSON.
    package func append(at index: Int, precise: Bool, to output: inout [UInt8]) {
        let start = index == 0 ? 0 : entries[index - 1].end
        output.append(contentsOf: buffer[start..<entries[index].end])
        if precise {
            output.append(contentsOf: ",\"us\":".utf8)
            output.append(contentsOf: String(entries[index].fraction).utf8)
        }
        output.append(UInt8(ascii: "}"))
    }
}

/// Encodes rows into a page.
public struct EventPageBuilder {
    private var entries: [EventPage.Entry] = []
    private var buffer: [UInt8] = []
    private let after: EventID
    private var lastSecond: Int64 = .min
    private var lastTimestamp: [UInt8] = []

    public init(after: EventID, capacity: Int = 0) {
        self.after = after
        entries.reserveCapacity(capacity)
        buffer.reserveCapacity(capacity * 192)
    }

    public var isEmpty: Bool { entries.isEmpty }
    public var lastID: EventID? { entries.last?.id }

    /// - Parameters:
    ///   - type: the type's text; it was checked when the event was recorded.
    ///   - data: the data's JSON text, copied as it is.
    public mutating func append(
        id: EventID, type: UnsafeRawBufferPointer, data: UnsafeRawBufferPointer, timestamp: EventTimestamp
    ) {
        guard let eventType = EventType(wire: type) else { return }
        buffer.append(contentsOf: "{\"id\":\"".utf8)
        buffer.append(contentsOf: String(id.rawValue).utf8)
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
        buffer.append(UInt8(ascii: "\""))
        entries.append(.init(id: id, type: eventType, fraction: Int32(timestamp.fraction), end: buffer.count))
    }

    /// - Parameter through: up to where the rows are complete; at least the last row's id.
    public func build(through: EventID) -> EventPage {
        EventPage(entries: entries, buffer: buffer, after: after, through: max(through, lastID ?? after))
    }
}

/// Events chosen for one consumer, as the elements of a JSON array.
public struct EventGroup: Sendable {
    /// The events, separated by commas, without the brackets.
    public internal(set) var elements: [UInt8] = []
    public internal(set) var count = 0
    /// Bytes of the whole as an EventList, at most.
    public internal(set) var bytes = 0
    public internal(set) var first: EventID?
    public internal(set) var last: EventID?
    /// Everything up to here has been looked at: what is not in the group was not wanted.
    public internal(set) var through: EventID

    /// The group as an EventList.
    public var list: [UInt8] { [UInt8(ascii: "[")] + elements + [UInt8(ascii: "]")] }
}

/// How much one group may hold.
public struct GroupLimits: Hashable, Sendable {
    /// Events; 1 to 1000 (FTN18 3.1, EventList).
    public var events: Int
    /// Bytes of the EventList; a single larger event still goes, alone.
    public var bytes: Int

    public init(events: Int, bytes: Int) {
        self.events = events
        self.bytes = bytes
    }
}

extension EventGroup {
    /// Takes the wanted events with ids in (after, through] out of consecutive pages, as far as the limits allow.
    ///
    /// - Parameters:
    ///   - pages: in order, together covering what lies past `after`.
    ///   - measuring: only find out which events would go in, without copying them.
    public init(
        from pages: some Sequence<EventPage>, after: EventID, through end: EventID = EventID(.max), want: EventFilter,
        precise: Bool, limits: GroupLimits, measuring: Bool = false
    ) {
        through = after
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
                if want.wants(entry.type) {
                    let size = page.size(at: index, precise: precise)
                    guard count < limits.events, count == 0 || bytes + size <= limits.bytes else { return }
                    bytes += size
                    if count == 0 { first = entry.id }
                    if !measuring {
                        if count > 0 { elements.append(UInt8(ascii: ",")) }
                        page.append(at: index, precise: precise, to: &elements)
                    }
                    last = entry.id
                    count += 1
                }
                through = entry.id
                index += 1
            }
            through = max(through, min(page.through, end))
        }
    }
}

extension Event {
    /// The event as its wire object.
    public var json: [UInt8] {
        var builder = EventPageBuilder(after: .none)
        data.bytes.withUnsafeBytes { data in
            type.utf8.withUnsafeBytes { builder.append(id: id, type: $0, data: data, timestamp: timestamp) }
        }
        var output: [UInt8] = []
        builder.build(through: id).append(at: 0, precise: isPrecise, to: &output)
        return output
    }

    /// Reads an EventList (protocol, section 3): at most 1000 events, ids strictly increasing.
    public static func list(decoding json: RawJSON) throws(FutoInError) -> [Event] {
        var events: [Event] = []
        guard let elements = json.bytes.withUnsafeBufferPointer({ arrayElements($0) }) else {
            throw .invalidRequest("events must be a list")
        }
        guard elements.count <= 1000 else { throw .invalidRequest("an event list has at most 1000 events") }
        events.reserveCapacity(elements.count)
        for range in elements {
            let event = try json.bytes.withUnsafeBufferPointer { bytes throws(FutoInError) in
                try Event(decoding: UnsafeBufferPointer(rebasing: bytes[range]))
            }
            guard events.last.map({ $0.id < event.id }) ?? true else {
                throw .invalidRequest("the ids of an event list must increase")
            }
            events.append(event)
        }
        return events
    }

    /// Reads one event's wire object.
    public init(decoding json: RawJSON) throws(FutoInError) {
        self = try json.bytes.withUnsafeBufferPointer { bytes throws(FutoInError) in try Event(decoding: bytes) }
    }

    private init(decoding bytes: UnsafeBufferPointer<UInt8>) throws(FutoInError) {
        guard let members = try? objectMembers(bytes) else { throw .invalidRequest("an event must be an object") }
        var id: EventID?
        var type: EventType?
        var data: RawJSON?
        var timestamp: EventTimestamp?
        var fraction: Int64?
        for (key, range) in members {
            let contents = range.count >= 2 ? bytes[(range.lowerBound + 1)..<(range.upperBound - 1)] : bytes[0..<0]
            let isString = bytes[range.lowerBound] == UInt8(ascii: "\"")
            switch key {
            case "id" where isString: id = EventID(wire: contents)
            case "type" where isString: type = EventType(wire: contents)
            case "data": data = RawJSON(unchecked: Array(bytes[range]))
            case "ts" where isString: timestamp = EventTimestamp(wire: contents)
            case "us":
                fraction = Int64(String(decoding: bytes[range], as: UTF8.self))
                guard fraction != nil else { throw .invalidRequest("us must be an integer, 0 to 999999") }
            default: throw .invalidRequest("an event has no \(key.prefix(30))")
            }
        }
        guard let id, let type, let data, let timestamp, (0..<1_000_000).contains(fraction ?? 0) else {
            throw .invalidRequest("an event needs id, type, data and ts")
        }
        self.init(
            id: id, type: type, data: data,
            timestamp: EventTimestamp(microseconds: timestamp.microseconds + (fraction ?? 0)), isPrecise: fraction != nil)
    }
}

extension Event {
    /// Reads `{"type":…,"data":…}`, an event to be recorded.
    ///
    /// - Throws: `InvalidRequest` for anything else, other keys included.
    public static func draft(decoding json: RawJSON) throws(FutoInError) -> (type: String, data: RawJSON) {
        guard let members = json.bytes.withUnsafeBufferPointer({ try? objectMembers($0) }) else {
            throw .invalidRequest("an event must be an object with type and data")
        }
        var type: String?
        var data: RawJSON?
        for (key, range) in members {
            switch key {
            case "type" where json.bytes[range.lowerBound] == UInt8(ascii: "\""):
                type = JSONText.unescape(json.bytes[(range.lowerBound + 1)..<(range.upperBound - 1)])
            case "data": data = RawJSON(unchecked: Array(json.bytes[range]))
            default: throw .invalidRequest("an event to be recorded has type and data, not \(key.prefix(30))")
            }
        }
        guard let type, let data else { throw .invalidRequest("an event to be recorded needs type and data") }
        return (type, data)
    }
}
