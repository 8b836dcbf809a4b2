import Synchronization

/// A run of consecutive rows of the stream, encoded once for all who will get them.
///
/// The JSON of every event lies in one buffer, each followed by a comma, so that neighbours go into a group as one piece. Keys and
/// metas lie beside it, for those who ask for them. Pages are immutable and shared; a group for a consumer is copied out of one or
/// more of them.
package final class EventPage: Sendable {
    package struct Entry: Sendable {
        package let id: EventID
        package let type: EventType
        package let timestamp: EventTimestamp
        /// Where the event's JSON ends in the buffer; it starts where the one before ends.
        package let end: Int
    }

    /// Bytes an event has on the wire besides its data, at most.
    package static let overhead = 150

    package let entries: [Entry]
    private let buffer: [UInt8]
    private let extras: Extras
    /// What decides of each event's slice; computed when first asked for.
    private let sliceNumbers = Mutex<[UInt64]?>(nil)
    /// The page tells of every event with an id in (after, through].
    package let after: EventID
    package let through: EventID

    fileprivate init(entries: [Entry], buffer: [UInt8], extras: Extras, after: EventID, through: EventID) {
        self.entries = entries
        self.buffer = buffer
        self.extras = extras
        self.after = after
        self.through = through
    }

    package var byteCount: Int { buffer.count + entries.count * MemoryLayout<Entry>.stride + extras.byteCount }
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
        let size = entries[index].end - start(of: index)
        return fields.isEmpty ? size : size + sizeOfMore(at: index, fields)
    }

    /// Whether an event's key is one of these.
    package func isOf(_ keys: EventKeySet, at index: Int) -> Bool {
        !keys.isEmpty && keys.contains(member: extras.key(at: index))
    }

    /// Whether an event is in a slice.
    package func isIn(_ slice: EventSlice, at index: Int) -> Bool {
        slice.contains(
            sliceNumbers.withLock { numbers in
                if let numbers { return numbers[index] }
                let all = entries.indices.map {
                    EventSlice.number(of: (extras.keyText(at: $0) ?? "\(entries[$0].id)").utf8)
                }
                numbers = all
                return all[index]
            })
    }

    /// An event with everything that is known of it; nil only if its data is no JSON.
    package func event(at index: Int) -> Event? {
        var json = [UInt8(ascii: "[")]
        append(index..<(index + 1), fields: .all, to: &json)
        json[json.count - 1] = UInt8(ascii: "]")
        return (try? Event.list(decoding: RawJSON(unchecked: json)))?.first
    }

    private func sizeOfMore(at index: Int, _ fields: EventFields) -> Int {
        (fields.contains(.microseconds) ? EventPage.fractionSize : 0) + (fields.contains(.key) ? extras.key(at: index).count : 0)
            + (fields.contains(.meta) ? extras.meta(at: index).count : 0)
    }

    /// `,"us":` and up to six digits.
    private static let fractionSize = 12

    /// Appends events as JSON, a comma after each.
    package func append(_ range: Range<Int>, fields: EventFields, to output: inout [UInt8]) {
        let fields = fields.intersection(extras.fields.union(.microseconds))
        guard !fields.isEmpty else {
            output.append(contentsOf: buffer[start(of: range.lowerBound)..<start(of: range.upperBound)])
            return
        }
        for index in range {
            output.append(contentsOf: buffer[start(of: index)..<(entries[index].end - 2)])
            if fields.contains(.microseconds) {
                output.append(contentsOf: ",\"us\":".utf8)
                output.append(decimal: entries[index].timestamp.fraction)
            }
            if fields.contains(.key) { output.append(contentsOf: extras.key(at: index)) }
            if fields.contains(.meta) { output.append(contentsOf: extras.meta(at: index)) }
            output.append(contentsOf: "},".utf8)
        }
    }
}

/// The keys and metas of a page's events, as they follow an event's other members. Empty for a page whose events have none.
private struct Extras {
    private var buffer: [UInt8] = []
    /// Of each event, up to the last one that has a key or meta: where its key ends in the buffer, and where its meta does.
    private var ends: [(key: Int, meta: Int)] = []
    /// Which of the two any event has.
    private(set) var fields: EventFields = []

    var byteCount: Int { buffer.count + ends.count * MemoryLayout<(Int, Int)>.stride }

    private func start(of index: Int) -> Int { index == 0 ? 0 : ends[index - 1].meta }

    func key(at index: Int) -> ArraySlice<UInt8> { index < ends.count ? buffer[start(of: index)..<ends[index].key] : [] }
    func keyText(at index: Int) -> String? {
        let member = key(at: index)
        return member.isEmpty ? nil : JSONText.text(member.dropFirst(EventKeySet.memberName.count + 1).dropLast())
    }
    func meta(at index: Int) -> ArraySlice<UInt8> { index < ends.count ? buffer[ends[index].key..<ends[index].meta] : [] }

    /// Of the event with this index, and of no earlier one after it.
    mutating func append(key: UnsafeRawBufferPointer?, meta: UnsafeRawBufferPointer?, at index: Int) {
        while ends.count < index { ends.append((buffer.count, buffer.count)) }
        if let key {
            EventKeySet.appendMember(key, to: &buffer)
            fields.insert(.key)
        }
        let end = buffer.count
        if let meta {
            buffer.append(contentsOf: ",\"meta\":".utf8)
            buffer.append(contentsOf: meta)
            fields.insert(.meta)
        }
        ends.append((end, buffer.count))
    }
}

/// Encodes rows into a page.
package struct EventPageBuilder {
    private var entries: [EventPage.Entry] = []
    private var buffer: [UInt8] = []
    private var extras = Extras()
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
    ///   - key: its text; nil if the event has none.
    ///   - meta: its JSON text, copied as it is; nil if the event has none.
    package mutating func append(
        id: EventID, type: UnsafeRawBufferPointer, data: UnsafeRawBufferPointer, timestamp: EventTimestamp,
        key: UnsafeRawBufferPointer? = nil, meta: UnsafeRawBufferPointer? = nil
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
        if key != nil || meta != nil { extras.append(key: key, meta: meta, at: entries.count) }
        entries.append(.init(id: id, type: eventType, timestamp: timestamp, end: buffer.count))
    }

    /// - Parameter through: up to where the rows are complete; at least the last row's id.
    package func build(through: EventID) -> EventPage {
        EventPage(entries: entries, buffer: buffer, extras: extras, after: after, through: max(through, lastID ?? after))
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
        append(to: &builder)
        var output: [UInt8] = []
        builder.build(through: id).append(0..<1, fields: isPrecise ? .all : [.key, .meta], to: &output)
        output.removeLast()
        return output
    }

    package func append(to page: inout EventPageBuilder) {
        func with<Value>(_ bytes: [UInt8]?, _ body: (UnsafeRawBufferPointer?) -> Value) -> Value {
            bytes.map { $0.withUnsafeBytes { body($0) } } ?? body(nil)
        }
        data.bytes.withUnsafeBytes { data in
            type.utf8.withUnsafeBytes { type in
                with(key.map { Array($0.utf8) }) { key in
                    with(meta?.bytes) { page.append(id: id, type: type, data: data, timestamp: timestamp, key: key, meta: $0) }
                }
            }
        }
    }
}
