/// The interfaces spoken here (protocol, section 4).
package enum Interface: String, Sendable, CaseIterable {
    case generator = "futoin.evt.gen"
    case poll = "futoin.evt.poll"
    case push = "futoin.evt.push"
    case receiver = "futoin.evt.receiver"
    case ping = "futoin.ping"

    /// Minor versions of major version 1 that are understood.
    var minorVersions: ClosedRange<Int> { self == .ping ? 0...0 : 0...1 }

    /// The newest version, as calls name it.
    package var version: String { "1.\(minorVersions.upperBound)" }
}

/// A call, checked: the function exists, every parameter is there and has its type.
package enum Call: Hashable, Sendable {
    /// The integer, digit for digit.
    case ping(echo: RawJSON)
    case addEvent(EventDraft)
    /// - Parameter start: where a new consumer begins; nil for what the table holds.
    ///
    /// - Parameter slices: how many slices the consumer is cut into; nil for none.
    case registerConsumer(ConsumerComponent, start: StartPosition? = nil, slices: Int? = nil)
    case pollEvents(ConsumerComponent, after: EventID?, want: EventFilter, fields: EventFields, generation: String? = nil)
    /// - Parameters:
    ///   - origin: whether the answer is to tell which stream this is, and from where on (``StreamOrigin``).
    ///   - partial: whether a group may be answered with what was processed of it (``GroupAnswer``).
    ///   - park: whether an event that fails again and again may be set aside.
    case readyToReceive(
        ConsumerComponent, want: EventFilter, fields: EventFields, origin: Bool = false, partial: Bool = false, park: Bool = true)
    case stopReceiving(ConsumerComponent)
    /// How far the consumer is behind (``ConsumerLag``).
    case lag(ConsumerComponent)
    /// An archiver has begun its work in a warehouse.
    ///
    /// - Parameters:
    ///   - known: the token it has found there; nil for none.
    ///   - token: the one it will write there.
    case archive(ConsumerComponent, known: String?, token: String)

    /// Reads a request for one of the interfaces a process offers.
    ///
    /// - Throws: `InvalidRequest`, `UnknownInterface`, `NotSupportedVersion` or `NotImplemented` (FTN3 1.9.1).
    package init(_ request: WireMessage.Request, offering interfaces: Set<Interface>) throws(EventStreamError) {
        let parts = request.function.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[0].isEmpty, !parts[2].isEmpty else {
            throw .invalidRequest("f must be interface:version:function, not \(request.function.prefix(100))")
        }
        let version = parts[1].split(separator: ".", omittingEmptySubsequences: false)
        guard version.count == 2, version.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(\.isASCIIDigit) }) else {
            throw .invalidRequest("the version must be major.minor, not \(parts[1].prefix(20))")
        }
        guard let interface = Interface(rawValue: String(parts[0])), interfaces.contains(interface) else {
            throw .unknownInterface("\(parts[0].prefix(100)) is not offered here")
        }
        guard version[0] == "1", interface.minorVersions.contains(where: { version[1] == String($0) }) else {
            throw .notSupportedVersion("\(interface.rawValue) is spoken up to version \(interface.version)")
        }
        var parameters = Parameters(request.parameters)
        switch (interface, parts[2]) {
        case (_, "ping"): self = .ping(echo: try parameters.integer("echo"))
        case (.generator, "addEvent"):
            let draft = EventDraft(
                type: try parameters.eventType("type"), data: try parameters.any("data"), key: try parameters.anyText("key"),
                meta: parameters.optional("meta"), idempotencyKey: try parameters.anyText("idempotency_key"))
            try draft.checkKeysAndMeta()
            self = .addEvent(draft)
        case (.poll, "registerConsumer"), (.push, "registerConsumer"):
            self = .registerConsumer(
                try parameters.component(), start: try parameters.start(), slices: try parameters.slices())
        case (.poll, "pollEvents"), (.push, "pollEvents"):
            self = .pollEvents(
                try parameters.cutComponent(), after: try parameters.eventID("last_id"), want: try parameters.want(),
                fields: try parameters.fields(), generation: try parameters.text("generation"))
        case (.push, "readyToReceive"):
            self = .readyToReceive(
                try parameters.cutComponent(), want: try parameters.want(), fields: try parameters.fields(),
                origin: try parameters.bool("origin"), partial: try parameters.bool("partial"),
                park: try parameters.bool("park", default: true))
        case (.push, "stopReceiving"): self = .stopReceiving(try parameters.cutComponent())
        case (.poll, "lag"), (.push, "lag"): self = .lag(try parameters.cutComponent())
        case (.push, "archive"):
            let component = try parameters.component()
            let known = try parameters.uuid("known")
            guard let token = try parameters.uuid("token") else { throw .invalidRequest("parameter token is missing") }
            self = .archive(component, known: known, token: token)
        default: throw .notImplemented("\(interface.rawValue) has no function \(parts[2].prefix(100))")
        }
        try parameters.finish()
    }

    /// The request that makes this call.
    package func request(rid: RequestID?) -> WireMessage.Request {
        func function(_ interface: Interface, _ name: String) -> String {
            "\(interface.rawValue):\(interface.version):\(name)"
        }
        func consumer(_ component: ConsumerComponent, _ more: [String: RawJSON] = [:]) -> [String: RawJSON] {
            var all = more.merging(["component": quoted(component.name)]) { $1 }
            if let slice = component.slice {
                all["slice"] = RawJSON(unchecked: Array("{\"index\":\(slice.index),\"of\":\(slice.count)}".utf8))
            }
            return all
        }
        switch self {
        case .ping(let echo): return .init(function: function(.ping, "ping"), parameters: ["echo": echo], rid: rid)
        case .addEvent(let draft):
            var parameters = ["type": quoted(draft.type.description), "data": draft.data]
            parameters["key"] = draft.key.map(quoted)
            parameters["meta"] = draft.meta
            parameters["idempotency_key"] = draft.idempotencyKey.map(quoted)
            return .init(function: function(.generator, "addEvent"), parameters: parameters, rid: rid)
        case .registerConsumer(let component, let start, let slices):
            var more = start.map { ["start": quoted($0.description)] } ?? [:]
            more["slices"] = slices.map { RawJSON(unchecked: Array("\($0)".utf8)) }
            return .init(function: function(.push, "registerConsumer"), parameters: consumer(component, more), rid: rid)
        case .pollEvents(let component, let after, let want, let fields, let generation):
            let last = after.map { quoted($0.description) } ?? .null
            var more = ["last_id": last, "want": want.json].merging(fields.parameters) { $1 }
            if let generation { more["generation"] = quoted(generation) }
            return .init(function: function(.push, "pollEvents"), parameters: consumer(component, more), rid: rid)
        case .readyToReceive(let component, let want, let fields, let origin, let partial, let park):
            var more = ["want": want.json, "origin": json(origin)].merging(fields.parameters) { $1 }
            // A server that does not know these refuses them.
            if partial { more["partial"] = .true }
            if !park { more["park"] = json(false) }
            return .init(function: function(.push, "readyToReceive"), parameters: consumer(component, more), rid: rid)
        case .stopReceiving(let component):
            return .init(function: function(.push, "stopReceiving"), parameters: consumer(component), rid: rid)
        case .lag(let component): return .init(function: function(.push, "lag"), parameters: consumer(component), rid: rid)
        case .archive(let component, let known, let token):
            let tokens = ["known": known.map { quoted($0) } ?? .null, "token": quoted(token)]
            return .init(function: function(.push, "archive"), parameters: consumer(component, tokens), rid: rid)
        }
    }
}

extension Call {
    /// An event with nothing but type and data.
    package static func addEvent(type: EventType, data: RawJSON) -> Call { .addEvent(EventDraft(type: type, data: data)) }
}

private func quoted(_ text: String) -> RawJSON {
    var output: [UInt8] = []
    JSONText.append(text, to: &output)
    return RawJSON(unchecked: output)
}

private func json(_ value: Bool) -> RawJSON { RawJSON(unchecked: Array((value ? "true" : "false").utf8)) }

extension EventFields {
    /// The parameters that ask for these. `fields` only where it is needed: a server that does not know of it refuses the parameter.
    fileprivate var parameters: [String: RawJSON] {
        let precise = json(contains(.microseconds))
        guard !isSubset(of: .microseconds) else { return ["precise": precise] }
        let list = names.map { "\"\($0)\"" }.joined(separator: ",")
        return ["precise": precise, "fields": RawJSON(unchecked: Array("[\(list)]".utf8))]
    }
}

extension EventFilter {
    var json: RawJSON {
        guard let entries else { return .null }
        let names = entries.map { "\"\($0)\"" }.joined(separator: ",")
        return RawJSON(unchecked: Array("[\(names)]".utf8))
    }
}

/// Takes parameters out one by one; what is left over at the end is not known here.
private struct Parameters {
    private var values: [String: RawJSON]

    init(_ values: [String: RawJSON]) { self.values = values }

    mutating func any(_ name: String) throws(EventStreamError) -> RawJSON {
        guard let value = values.removeValue(forKey: name) else { throw .invalidRequest("parameter \(name) is missing") }
        return value
    }

    /// Nil where it is left out or null.
    mutating func optional(_ name: String) -> RawJSON? {
        let value = values.removeValue(forKey: name)
        return value == .null ? nil : value
    }

    private func string(_ value: RawJSON) -> String? {
        guard value.bytes.first == UInt8(ascii: "\"") else { return nil }
        return JSONText.unescape(value.bytes.dropFirst().dropLast())
    }

    mutating func integer(_ name: String) throws(EventStreamError) -> RawJSON {
        let value = try any(name)
        let digits = value.bytes.first == UInt8(ascii: "-") ? value.bytes.dropFirst() : value.bytes[...]
        guard !digits.isEmpty, digits.allSatisfy(\.isASCIIDigit) else { throw .invalidRequest("\(name) must be an integer") }
        return value
    }

    mutating func bool(_ name: String, default standard: Bool = false) throws(EventStreamError) -> Bool {
        guard let value = optional(name) else { return standard }
        guard value != json(false) else { return false }
        guard value == json(true) else { throw .invalidRequest("\(name) must be true or false") }
        return true
    }

    mutating func fields() throws(EventStreamError) -> EventFields {
        var fields: EventFields = try bool("precise") ? .microseconds : []
        guard let value = optional("fields") else { return fields }
        guard let elements = value.bytes.withUnsafeBufferPointer({ arrayElements($0) }) else {
            throw .invalidRequest("fields must be a list")
        }
        for range in elements {
            guard let field = string(RawJSON(unchecked: Array(value.bytes[range]))).flatMap({ EventFields(name: $0) }) else {
                throw .invalidRequest("fields has something that is no field: those of an event are us, key and meta")
            }
            fields.insert(field)
        }
        return fields
    }

    mutating func text(_ name: String) throws(EventStreamError) -> String? {
        guard let value = optional(name) else { return nil }
        guard let text = string(value), text.utf8.count <= 64 else {
            throw .invalidRequest("\(name) must be a string of at most 64 bytes")
        }
        return text
    }

    /// A string of any length; nil where it is left out or null.
    mutating func anyText(_ name: String) throws(EventStreamError) -> String? {
        guard let value = optional(name) else { return nil }
        guard value.bytes.first == UInt8(ascii: "\""), let text = JSONText.text(value.bytes.dropFirst().dropLast()) else {
            throw .invalidRequest("\(name) must be a string that UTF-8 can hold")
        }
        return text
    }

    /// As PostgreSQL writes it; nil where it is left out or null.
    mutating func uuid(_ name: String) throws(EventStreamError) -> String? {
        guard let text = try text(name) else { return nil }
        let isUUID = text.utf8.enumerated().allSatisfy { index, byte in
            [8, 13, 18, 23].contains(index) ? byte == UInt8(ascii: "-") : "0123456789abcdef".utf8.contains(byte)
        }
        guard text.utf8.count == 36, isUUID else {
            throw .invalidRequest("\(name) must be a UUID in lower case, such as 6a1c0e7a-9d0f-4c5b-8a55-0c7c5e3d2b10")
        }
        return text
    }

    mutating func eventType(_ name: String) throws(EventStreamError) -> EventType {
        guard let type = string(try any(name)).flatMap({ EventType($0) }) else {
            throw .invalidRequest("\(name) is none: \(EventFilter.typeRule)")
        }
        return type
    }

    mutating func eventID(_ name: String) throws(EventStreamError) -> EventID? {
        guard let value = optional(name) else { return nil }
        guard let id = string(value).flatMap({ EventID($0) }) else {
            throw .invalidRequest("\(name) must be an event id, a string of 1 to 18 digits")
        }
        return id
    }

    mutating func start() throws(EventStreamError) -> StartPosition? {
        guard let value = optional("start") else { return nil }
        guard let start = string(value).flatMap({ StartPosition($0) }) else {
            throw .invalidRequest("start must be first, now, an event id, or a time like 2026-11-24T08:30:00Z")
        }
        return start
    }

    mutating func component() throws(EventStreamError) -> ConsumerComponent {
        guard let component = string(try any("component")).flatMap({ ConsumerComponent($0) }) else {
            throw .invalidRequest("component must be 1 to 16 of A-Z, a-z, 0-9 and _")
        }
        return component
    }

    /// A component, or a slice of it.
    mutating func cutComponent() throws(EventStreamError) -> ConsumerComponent {
        let component = try component()
        guard let value = optional("slice") else { return component }
        let refusal = EventStreamError.invalidRequest(
            "slice must be an object with index and of: of from \(EventSlice.counts.lowerBound) to "
                + "\(EventSlice.counts.upperBound), index from 0 to one less")
        guard !component.isLive else { throw .liveNotAllowed("live receivers have no slices") }
        let isObject = value.bytes.first == UInt8(ascii: "{")
        guard isObject, let members = value.bytes.withUnsafeBufferPointer({ try? objectMembers($0) }),
            members.map(\.key).sorted() == ["index", "of"], let index = number("index"), let count = number("of"),
            let slice = EventSlice(index, of: count)
        else { throw refusal }
        func number(_ name: String) -> Int? {
            members.first { $0.key == name }.flatMap { self.number(RawJSON(unchecked: Array(value.bytes[$0.value]))) }
        }
        return component.cut(slice)
    }

    mutating func slices() throws(EventStreamError) -> Int? {
        guard let value = optional("slices") else { return nil }
        guard let count = number(value), EventSlice.counts.contains(count) else {
            throw .invalidRequest(
                "slices must be a number from \(EventSlice.counts.lowerBound) to \(EventSlice.counts.upperBound)")
        }
        return count
    }

    private func number(_ value: RawJSON) -> Int? {
        let digits = value.bytes
        guard (1...3).contains(digits.count), digits.allSatisfy(\.isASCIIDigit), digits.count == 1 || digits[0] != 0x30 else {
            return nil
        }
        return digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    }

    mutating func want() throws(EventStreamError) -> EventFilter {
        guard let value = optional("want") else { return .all }
        let elements = value.bytes.withUnsafeBufferPointer { arrayElements($0) }
        guard let elements, !elements.isEmpty else {
            throw .invalidRequest("want must be null or a list of at least one event type")
        }
        let entries = elements.map { string(RawJSON(unchecked: Array(value.bytes[$0]))) }
        guard !entries.contains(nil), let filter = EventFilter(entries: entries.compactMap { $0 }) else {
            throw .invalidRequest("want has something that is no event type: \(EventFilter.rule)")
        }
        return filter
    }

    func finish() throws(EventStreamError) {
        if let name = values.keys.min() { throw .invalidRequest("unknown parameter \(name.prefix(50))") }
    }
}

/// Where the elements of an array stand; nil if the text is no array.
func arrayElements(_ bytes: UnsafeBufferPointer<UInt8>) -> [Range<Int>]? {
    var scanner = JSONScanner(bytes)
    guard scanner.take(UInt8(ascii: "[")) else { return nil }
    var elements: [Range<Int>] = []
    guard !scanner.take(UInt8(ascii: "]")) else { return elements }
    repeat {
        guard let element = try? scanner.value() else { return nil }
        elements.append(element)
    } while scanner.take(UInt8(ascii: ","))
    return scanner.take(UInt8(ascii: "]")) ? elements : nil
}
