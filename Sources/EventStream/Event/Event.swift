/// An event's place in the stream: positive, strictly increasing, with gaps (FTN18 2.1.1).
///
/// Zero is no event's id; as a position it means "before the first".
public struct EventID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let rawValue: Int64

    public init(_ rawValue: Int64) { self.rawValue = rawValue }

    /// Reads the wire form, `^[1-9][0-9]{0,17}$`.
    public init?(wire text: some Collection<UInt8>) {
        guard (1...18).contains(text.count), text.first != UInt8(ascii: "0") else { return nil }
        var value: Int64 = 0
        for byte in text {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            value = value * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        rawValue = value
    }

    public init?(_ text: String) { self.init(wire: Array(text.utf8)) }

    /// The position before the first event.
    public static let none = EventID(0)
    public var next: EventID { EventID(rawValue == .max ? .max : rawValue + 1) }
    public static func < (a: EventID, b: EventID) -> Bool { a.rawValue < b.rawValue }
    public var description: String { String(rawValue) }
}

/// What kind of thing happened: 1 to 16 of `A`-`Z` and `_` (FTN18 3.1); 1 to 64 of `A`-`Z`, `a`-`z`, `0`-`9`, `_`, `.`, `:`, `/` and `-`
/// in a stream with wide types.
///
/// Kept in words, so that comparing and hashing never touch the heap.
public struct EventType: Hashable, Sendable, CustomStringConvertible {
    private let high: UInt64
    private let low: UInt64
    /// What is beyond 16 bytes.
    private let rest: Rest

    private struct Rest: Hashable {
        var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)

        @inline(__always)
        static func == (a: Rest, b: Rest) -> Bool { a.words == b.words }
        func hash(into hasher: inout Hasher) { withUnsafeBytes(of: words) { hasher.combine(bytes: $0) } }
    }

    static let lengths = 1...64

    public init?(wire text: some Collection<UInt8>) {
        let count = text.count
        guard EventType.lengths.contains(count) else { return nil }
        var (high, low, rest): (UInt64, UInt64, Rest) = (0, 0, Rest())
        for (index, byte) in text.enumerated() {
            guard EventType.isAllowed(byte) else { return nil }
            if index < 8 {
                high = high << 8 | UInt64(byte)
            } else if index < 16 {
                low = low << 8 | UInt64(byte)
            } else {
                withUnsafeMutableBytes(of: &rest.words) { $0[index - 16] = byte }
            }
        }
        (self.high, self.low, self.rest) = (high, low, rest)
    }

    public init?(_ text: String) { self.init(wire: Array(text.utf8)) }

    @inline(__always)
    private static func isAllowed(_ byte: UInt8) -> Bool {
        // '-', '.' and '/' are neighbours.
        byte.isASCIILetterOrDigit || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ":")
            || (UInt8(ascii: "-")...UInt8(ascii: "/")).contains(byte)
    }

    public var utf8: [UInt8] { withUTF8 { Array($0) } }

    /// Whether every stream takes it: 1 to 16 of `A`-`Z` and `_`.
    package var isNarrow: Bool {
        withUTF8 { $0.count <= 16 && $0.allSatisfy { $0 &- UInt8(ascii: "A") < 26 || $0 == UInt8(ascii: "_") } }
    }

    package func hasPrefix(_ prefix: EventType) -> Bool {
        withUTF8 { text in
            prefix.withUTF8 { text.count >= $0.count && text.prefix($0.count).elementsEqual($0) }
        }
    }

    /// The text's bytes, without the heap.
    @inline(__always)
    package func withUTF8<Value>(_ body: (UnsafeRawBufferPointer) -> Value) -> Value {
        func leftAligned(_ word: UInt64) -> UInt64 { (word << (UInt64(word.leadingZeroBitCount) & ~7)).bigEndian }
        let count = 16 - high.leadingZeroBitCount / 8 - low.leadingZeroBitCount / 8
        guard count == 16 else {
            return withUnsafeBytes(of: (leftAligned(high), leftAligned(low))) {
                body(UnsafeRawBufferPointer(rebasing: $0[..<count]))
            }
        }
        return withUnsafeBytes(of: (high.bigEndian, low.bigEndian, rest.words)) { bytes in
            body(UnsafeRawBufferPointer(rebasing: bytes[..<(bytes[16...].firstIndex(of: 0) ?? bytes.count)]))
        }
    }

    public var description: String { withUTF8 { String(decoding: $0, as: UTF8.self) } }
}

/// Which event types a consumer wants.
public struct EventFilter: Hashable, Sendable {
    /// Nil wants every type.
    public let types: Set<EventType>?
    /// Types that begin with one of these are wanted, too.
    public let prefixes: Set<EventType>

    /// - Parameter types: nil for all; a set must not be empty (protocol, section 3).
    public init?(_ types: Set<EventType>?) { self.init(types, prefixes: []) }

    /// - Parameters:
    ///   - types: nil for all, whatever the prefixes are.
    ///   - prefixes: what types begin with. Types and prefixes must not both be empty.
    public init?(_ types: Set<EventType>?, prefixes: Set<EventType>) {
        if let types, types.isEmpty, prefixes.isEmpty { return nil }
        (self.types, self.prefixes) = (types, types == nil ? [] : prefixes)
    }

    private init() { (types, prefixes) = (nil, []) }
    public static let all = EventFilter()

    @inline(__always)
    public func wants(_ type: EventType) -> Bool {
        types.map { $0.contains(type) || !prefixes.isEmpty && prefixes.contains { type.hasPrefix($0) } } ?? true
    }
}

extension EventFilter {
    /// A list of types, and of prefixes that end in `*`.
    ///
    /// Nil for an empty list, and for something that is neither.
    package init?(entries: some Sequence<some StringProtocol>) {
        var (types, prefixes): (Set<EventType>, Set<EventType>) = ([], [])
        var isAll = false
        for entry in entries {
            if entry == "*" {
                isAll = true
            } else if entry.hasSuffix("*") {
                guard let prefix = EventType(String(entry.dropLast())) else { return nil }
                prefixes.insert(prefix)
            } else {
                guard let type = EventType(String(entry)) else { return nil }
                types.insert(type)
            }
        }
        self.init(isAll ? nil : types, prefixes: prefixes)
    }

    /// The same as a list, in order; nil for all.
    package var entries: [String]? { types.map { ($0.map(\.description) + prefixes.map { "\($0)*" }).sorted() } }

    /// Whether every stream takes it.
    package var isNarrow: Bool { types?.allSatisfy(\.isNarrow) ?? true && prefixes.allSatisfy(\.isNarrow) }

    /// What a type may be, and a prefix in a list, for people.
    package static let typeRule =
        "an event type is 1 to 16 of A-Z and _, in streams with wide types 1 to 64 of A-Z, a-z, 0-9, _, ., :, / and -"
    package static let rule = "\(typeRule); a prefix of types ends in *"

    /// What both want; nil if that is nothing.
    package func intersection(_ other: EventFilter) -> EventFilter? {
        guard let types else { return other }
        guard let others = other.types else { return self }
        let narrower = prefixes.filter { mine in other.prefixes.contains { mine.hasPrefix($0) } }
            .union(other.prefixes.filter { theirs in prefixes.contains { theirs.hasPrefix($0) } })
        return EventFilter(types.filter(other.wants).union(others.filter(wants)), prefixes: narrower)
    }
}

/// The name a consumer gives one of its parts: `^[A-Za-z0-9_]{1,16}$` (FTN18 2.2.4).
public struct ConsumerComponent: Hashable, Sendable, CustomStringConvertible {
    public let name: String
    /// Which slice of it is meant; nil for all, where it is not cut into slices.
    package let slice: EventSlice?

    public init?(_ name: String) {
        guard (1...16).contains(name.utf8.count), name.utf8.allSatisfy({ $0.isASCIILetterOrDigit || $0 == UInt8(ascii: "_") })
        else { return nil }
        self.init(name, slice: nil)
    }

    private init(_ name: String, slice: EventSlice?) { (self.name, self.slice) = (name, slice) }
    private init(reserved name: String) { self.init(name, slice: nil) }
    /// Live delivery: not registered, no position, may lose events.
    public static let live = ConsumerComponent(reserved: "LIVE")
    /// The component an archiver uses unless told otherwise.
    public static let archiver = ConsumerComponent(reserved: "ARCHIVER")
    /// The component a relay uses unless told otherwise.
    public static let relay = ConsumerComponent(reserved: "RELAY")
    public var isLive: Bool { self == .live }
    public var description: String { slice.map { "\(name)/\($0)" } ?? name }

    /// A slice of it; it itself for nil.
    package func cut(_ slice: EventSlice?) -> ConsumerComponent { ConsumerComponent(name, slice: slice) }
}

/// A consumer: a user and one of its components, written `user:component`; `user:component/index.count` for a slice of one.
public struct ConsumerIdentity: Hashable, Sendable, CustomStringConvertible {
    public let user: String
    public let component: ConsumerComponent

    /// The user every peer is, where keys do not tell users apart.
    public static let localUser = "local"

    public init(user: String = localUser, component: ConsumerComponent) {
        self.user = user
        self.component = component
    }

    /// Reads `user:component`, or `component` alone for the local user.
    ///
    /// The whole is at most 64 bytes, as the table's column is.
    public init?(_ text: String) {
        guard text.utf8.count <= 64 else { return nil }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let names = parts.last!.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let component = ConsumerComponent(String(names[0])) else { return nil }
        let slice = names.count == 2 ? EventSlice(names[1]) : nil
        guard names.count == 1 || slice != nil else { return nil }
        self.init(user: parts.count == 2 ? parts[0] : ConsumerIdentity.localUser, component: component.cut(slice))
        guard !user.isEmpty else { return nil }
    }

    public var description: String { "\(user):\(component)" }

    /// The consumer it is a slice of; it itself if it is none.
    package var whole: ConsumerIdentity { ConsumerIdentity(user: user, component: component.cut(nil)) }
    /// Its slices.
    package func slices(_ count: Int) -> [ConsumerIdentity] {
        (0..<count).map { ConsumerIdentity(user: user, component: component.cut(EventSlice($0, of: count))) }
    }
}

/// One event of the stream.
public struct Event: Hashable, Sendable {
    public let id: EventID
    public let type: EventType
    /// The data as it was recorded, byte for byte.
    public let data: RawJSON
    public let timestamp: EventTimestamp
    /// Whether ``timestamp`` has its microseconds; without `precise` the wire carries whole seconds.
    public let isPrecise: Bool
    /// What the event is about; nil if it has no key, or the key was not asked for.
    public let key: String?
    /// A JSON object that tells how the event came about, byte for byte; nil if there is none, or it was not asked for.
    public let meta: RawJSON?

    public init(
        id: EventID, type: EventType, data: RawJSON, timestamp: EventTimestamp, isPrecise: Bool = true, key: String? = nil,
        meta: RawJSON? = nil
    ) {
        self.id = id
        self.type = type
        self.data = data
        self.timestamp = timestamp
        self.isPrecise = isPrecise
        self.key = key
        self.meta = meta
    }

    /// The event as somebody gets it who asks for these fields.
    package func with(only fields: EventFields) -> Event {
        Event(
            id: id, type: type, data: data, timestamp: timestamp, isPrecise: isPrecise && fields.contains(.microseconds),
            key: fields.contains(.key) ? key : nil, meta: fields.contains(.meta) ? meta : nil)
    }

    /// The event without what may be erased of it.
    package var erased: Event { Event(id: id, type: type, data: .null, timestamp: timestamp, isPrecise: isPrecise) }
}

extension UInt8 {
    var isASCIIDigit: Bool { self &- UInt8(ascii: "0") < 10 }
    package var isASCIILetterOrDigit: Bool { isASCIIDigit || (self | 0x20) &- UInt8(ascii: "a") < 26 }
}
