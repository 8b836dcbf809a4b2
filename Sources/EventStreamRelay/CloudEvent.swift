import EventStream

/// An event as CloudEvents 1.0 has it: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
struct CloudEvent: Hashable, Sendable {
    let event: Event
    let generation: StreamGeneration
    /// Whether the event was parked, and comes again by an operator's command: its order means nothing then.
    let isRedelivered: Bool

    /// An event's name for ever: an id may be given again after a fail-over, but not within a generation.
    var name: String { "\(generation.id)_\(event.id)" }

    /// About so many bytes are sent of it.
    static func size(of event: Event) -> Int { event.data.bytes.count + 500 }

    /// The attributes of the context, in the order in which they are written. Each is text.
    var attributes: [(String, String)] {
        var attributes: [(String, String)] = [
            ("specversion", "1.0"), ("id", "\(event.id)"), ("source", "/eventstream/\(generation.stream)"),
            ("type", "\(event.type)"), ("time", time), ("generation", generation.id),
        ]
        // No attribute is empty.
        if let key = event.key, !key.isEmpty { attributes.append(("partitionkey", key)) }
        if let parent = event.meta?.text(of: "traceparent"), parent.wholeMatch(of: Self.traceParent) != nil {
            attributes.append(("traceparent", parent))
        }
        return attributes
    }

    /// W3C Trace Context.
    private static var traceParent: Regex<Substring> { /[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}/ }

    /// RFC 3339, with microseconds.
    private var time: String {
        let digits = String(event.timestamp.fraction)
        let seconds = String(decoding: event.timestamp.wire.dropLast(), as: UTF8.self)
        return "\(seconds).\(String(repeating: "0", count: 6 - digits.count))\(digits)Z"
    }

    // MARK: Formats

    /// The event as one JSON object; its data is as it was recorded, byte for byte.
    var json: [UInt8] {
        var output = Array("{".utf8)
        output.reserveCapacity(Self.size(of: event))
        for (name, value) in attributes { output += Array("\"\(name)\":".utf8) + RawJSON(string: value).bytes + Array(",".utf8) }
        if isRedelivered { output += Array("\"redelivered\":true,".utf8) }
        output += Array("\"datacontenttype\":\"application/json\",\"data\":".utf8)
        output += event.data.bytes
        output.append(UInt8(ascii: "}"))
        return output
    }

    /// Several events as a JSON array.
    static func batch(_ events: [CloudEvent]) -> [UInt8] {
        Array("[".utf8) + events.map(\.json).joined(separator: Array(",".utf8)) + Array("]".utf8)
    }

    /// The attributes as headers of HTTP; the body is the data.
    var headers: [(String, String)] {
        attributes.map { ("ce-\($0)", Self.percentEncoded($1)) } + (isRedelivered ? [("ce-redelivered", "true")] : [])
    }

    /// HTTP Protocol Binding for CloudEvents, section 3.1.3.2.
    static func percentEncoded(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var output: [UInt8] = []
        for byte in text.utf8 {
            let isPlain = (0x21...0x7E).contains(byte) && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "%")
            output += isPlain ? [byte] : [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
        return String(decoding: output, as: UTF8.self)
    }
}
