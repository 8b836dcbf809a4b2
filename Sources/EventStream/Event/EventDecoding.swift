/// Reads events out of JSON text in one pass.
struct EventDecoder {
    private(set) var scanner: JSONScanner
    /// Neighbours mostly have the same second: where its text stood last, and what it meant.
    private var knownTime: (text: Range<Int>, timestamp: EventTimestamp)?

    init(_ scanner: JSONScanner) { self.scanner = scanner }

    private var bytes: UnsafeBufferPointer<UInt8> { scanner.bytes }

    /// Reads an EventList.
    mutating func list() throws(EventStreamError) -> [Event] {
        var events: [Event] = []
        guard scanner.take(UInt8(ascii: "[")) else { throw .invalidRequest("events must be a list") }
        if scanner.take(UInt8(ascii: "]")) { return events }
        repeat {
            guard events.count < 1000 else { throw .invalidRequest("an event list has at most 1000 events") }
            let event = try event()
            guard events.last.map({ $0.id < event.id }) ?? true else {
                throw .invalidRequest("the ids of an event list must increase")
            }
            events.append(event)
        } while scanner.take(UInt8(ascii: ","))
        guard scanner.take(UInt8(ascii: "]")) else { throw .invalidRequest("events must be a list") }
        return events
    }

    mutating func event() throws(EventStreamError) -> Event {
        do {
            return try scanEvent()
        } catch let error as EventStreamError {
            throw error
        } catch {
            throw .invalidRequest("an event must be an object")
        }
    }

    /// - Throws: `JSONScanner.Failure` where the text is no JSON object, `EventStreamError` where it is no event.
    private mutating func scanEvent() throws -> Event {
        var id: EventID?
        var type: EventType?
        var data: RawJSON?
        var timestamp: EventTimestamp?
        var fraction: Int64?
        var eventKey: String?
        var meta: RawJSON?
        try scanner.expect(UInt8(ascii: "{"))
        if !scanner.take(UInt8(ascii: "}")) {
            repeat {
                scanner.skipWhitespace()
                let key = try scanner.string()
                try scanner.expect(UInt8(ascii: ":"))
                let start = scanner.position
                let value = try scanner.value()
                let isString = bytes[value.lowerBound] == UInt8(ascii: "\"")
                let contents = isString ? (value.lowerBound + 1)..<(value.upperBound - 1) : 0..<0
                switch name(key) {
                case .id where isString: id = EventID(wire: bytes[contents])
                case .type where isString: type = EventType(wire: bytes[contents])
                case .data:
                    // White space around the value was recorded with it: the pusher adds none.
                    scanner.skipWhitespace()
                    data = RawJSON(unchecked: Array(bytes[start..<scanner.position]))
                case .ts where isString: timestamp = time(contents)
                case .us:
                    fraction = bytes[value].count <= 6 ? bytes[value].decimal : nil
                    guard fraction != nil else { throw EventStreamError.invalidRequest("us must be an integer, 0 to 999999") }
                case .key:
                    eventKey = isString ? JSONText.text(bytes[contents]) : nil
                    guard eventKey != nil else {
                        throw EventStreamError.invalidRequest("key must be a string that UTF-8 can hold")
                    }
                case .meta:
                    scanner.skipWhitespace()
                    meta = RawJSON(unchecked: Array(bytes[start..<scanner.position]))
                    guard meta?.isObject == true else { throw EventStreamError.invalidRequest("meta must be an object") }
                default:
                    throw EventStreamError.invalidRequest("an event has no \(JSONText.unescape(bytes[key]).prefix(30)) like that")
                }
            } while scanner.take(UInt8(ascii: ","))
            try scanner.expect(UInt8(ascii: "}"))
        }
        guard let id, let type, let data, let timestamp, (0..<1_000_000).contains(fraction ?? 0) else {
            throw EventStreamError.invalidRequest("an event needs id, type, data and ts")
        }
        return Event(
            id: id, type: type, data: data,
            timestamp: EventTimestamp(microseconds: timestamp.microseconds + (fraction ?? 0)), isPrecise: fraction != nil,
            key: eventKey, meta: meta)
    }

    private enum Key { case id, type, data, ts, us, key, meta, other }

    private func name(_ range: Range<Int>) -> Key {
        let key = bytes[range]
        // A comparison for each is worth the trouble.
        func isKey(_ text: StaticString) -> Bool {
            UnsafeRawPointer(text.utf8Start).isEqual(to: bytes.baseAddress! + range.lowerBound, count: range.count)
        }
        switch range.count {
        case 2 where isKey("id"): return .id
        case 2 where isKey("ts"): return .ts
        case 2 where isKey("us"): return .us
        case 3 where isKey("key"): return .key
        case 4 where isKey("type"): return .type
        case 4 where isKey("data"): return .data
        case 4 where isKey("meta"): return .meta
        default: break
        }
        // None of them is longer in escapes.
        guard key.count <= 24, key.contains(UInt8(ascii: "\\")) else { return .other }
        switch JSONText.unescape(key) {
        case "id": return .id
        case "ts": return .ts
        case "us": return .us
        case "type": return .type
        case "data": return .data
        case "key": return .key
        case "meta": return .meta
        default: return .other
        }
    }

    private mutating func time(_ range: Range<Int>) -> EventTimestamp? {
        if let knownTime, knownTime.text.count == range.count,
            UnsafeRawPointer(bytes.baseAddress! + range.lowerBound).isEqual(
                to: bytes.baseAddress! + knownTime.text.lowerBound, count: range.count)
        {
            return knownTime.timestamp
        }
        let timestamp = EventTimestamp(wire: bytes[range])
        if let timestamp { knownTime = (range, timestamp) }
        return timestamp
    }
}

extension UnsafeRawPointer {
    @inline(__always)
    fileprivate func isEqual(to other: UnsafeRawPointer, count: Int) -> Bool {
        for index in 0..<count where (self + index).load(as: UInt8.self) != (other + index).load(as: UInt8.self) { return false }
        return true
    }
}

extension Slice<UnsafeBufferPointer<UInt8>> {
    /// The number that digits and nothing else make; nil for anything else, leading zeros included.
    fileprivate var decimal: Int64? {
        guard let first, count <= 18, first != UInt8(ascii: "0") || count == 1 else { return nil }
        var value: Int64 = 0
        for byte in self {
            guard byte.isASCIIDigit else { return nil }
            value = value * 10 + Int64(byte &- UInt8(ascii: "0"))
        }
        return value
    }
}

extension Event {
    /// Reads an EventList (protocol, section 3): at most 1000 events, ids strictly increasing.
    package static func list(decoding json: RawJSON) throws(EventStreamError) -> [Event] {
        try json.bytes.withUnsafeBufferPointer { bytes throws(EventStreamError) in
            var decoder = EventDecoder(JSONScanner(bytes))
            return try decoder.list()
        }
    }

    /// Reads one event's wire object.
    package init(decoding json: RawJSON) throws(EventStreamError) {
        self = try json.bytes.withUnsafeBufferPointer { bytes throws(EventStreamError) in
            var decoder = EventDecoder(JSONScanner(bytes))
            return try decoder.event()
        }
    }
}

extension Event {
    /// Reads `{"type":…,"data":…}`, an event to be recorded; it may have `key`, `meta` and `idempotency_key`, too.
    ///
    /// - Throws: `InvalidRequest` for anything else, other keys included.
    package static func draft(decoding json: RawJSON) throws(EventStreamError) -> (
        type: String, data: RawJSON, key: String?, meta: RawJSON?, idempotencyKey: String?
    ) {
        guard let members = json.bytes.withUnsafeBufferPointer({ try? objectMembers($0) }) else {
            throw .invalidRequest("an event must be an object with type and data")
        }
        var texts: [String: String] = [:]
        var values: [String: RawJSON] = [:]
        for (key, range) in members {
            let value = RawJSON(unchecked: Array(json.bytes[range]))
            switch key {
            case "type", "key", "idempotency_key":
                guard value.bytes.first == UInt8(ascii: "\""), let text = JSONText.text(value.bytes.dropFirst().dropLast()) else {
                    throw .invalidRequest("\(key) must be a string")
                }
                texts[key] = text
            case "data", "meta": values[key] = value
            default:
                throw .invalidRequest(
                    "an event to be recorded has type, data, key, meta and idempotency_key, not \(key.prefix(30))")
            }
        }
        guard let type = texts["type"], let data = values["data"] else {
            throw .invalidRequest("an event to be recorded needs type and data")
        }
        return (type, data, texts["key"], values["meta"], texts["idempotency_key"])
    }
}
