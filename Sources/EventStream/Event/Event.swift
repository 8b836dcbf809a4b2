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

/// What kind of thing happened: `^[A-Z_]{1,16}$` (FTN18 3.1).
///
/// Kept in two words, so that comparing and hashing never touch the heap.
public struct EventType: Hashable, Sendable, CustomStringConvertible {
    private let high: UInt64
    private let low: UInt64

    public init?(wire text: some Collection<UInt8>) {
        guard (1...16).contains(text.count) else { return nil }
        var (high, low): (UInt64, UInt64) = (0, 0)
        for (index, byte) in text.enumerated() {
            guard (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) || byte == UInt8(ascii: "_") else {
                return nil
            }
            if index < 8 { high = high << 8 | UInt64(byte) } else { low = low << 8 | UInt64(byte) }
        }
        (self.high, self.low) = (high, low)
    }

    public init?(_ text: String) { self.init(wire: Array(text.utf8)) }

    public var utf8: [UInt8] {
        [high, low].flatMap { word in (0..<8).reversed().map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
            .filter { $0 != 0 }
    }

    /// The text's bytes, without the heap.
    @inline(__always)
    package func withUTF8<Value>(_ body: (UnsafeRawBufferPointer) -> Value) -> Value {
        func leftAligned(_ word: UInt64) -> UInt64 { (word << (UInt64(word.leadingZeroBitCount) & ~7)).bigEndian }
        let count = 16 - high.leadingZeroBitCount / 8 - low.leadingZeroBitCount / 8
        return withUnsafeBytes(of: (leftAligned(high), leftAligned(low))) { body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }

    public var description: String { String(decoding: utf8, as: UTF8.self) }
}

/// Which event types a consumer wants.
public struct EventFilter: Hashable, Sendable {
    /// Nil wants every type.
    public let types: Set<EventType>?

    /// - Parameter types: nil for all; a set must not be empty (protocol, section 3).
    public init?(_ types: Set<EventType>?) {
        if let types, types.isEmpty { return nil }
        self.types = types
    }

    private init() { types = nil }
    public static let all = EventFilter()

    @inline(__always)
    public func wants(_ type: EventType) -> Bool { types?.contains(type) ?? true }
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
