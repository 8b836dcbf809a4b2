/// What a session's events are counted from: which stream they are of, and after which event the session began.
///
/// Our extension: readyToReceive with `"origin": true` is answered with it instead of `true`
/// (`{"stream": "…", "generation": "…", "start": null, "after": "17", "common": "15"}`; ids are null at the beginning of the stream).
public struct StreamOrigin: Hashable, Sendable {
    public let generation: StreamGeneration
    /// The session brings every event after this one; ``EventID/none`` for all there are.
    public let after: EventID
    /// Up to here earlier generations had the same events for this consumer: what it had confirmed when this one began.
    public let common: EventID

    public init(generation: StreamGeneration, after: EventID, common: EventID) {
        self.generation = generation
        self.after = after
        self.common = common
    }

    public var json: RawJSON {
        var output = Array("{\"stream\":".utf8)
        JSONText.append(generation.stream, to: &output)
        output += Array(",\"generation\":".utf8)
        JSONText.append(generation.id, to: &output)
        for (name, id) in [("start", generation.start), ("after", after), ("common", common)] {
            output += Array(",\"\(name)\":\(id == .none ? "null" : "\"\(id)\"")".utf8)
        }
        output.append(UInt8(ascii: "}"))
        return RawJSON(unchecked: output)
    }

    /// Nil for what is no origin, such as the plain `true` of a server that does not know of it.
    public init?(_ json: RawJSON) {
        guard let members = json.bytes.withUnsafeBufferPointer({ try? objectMembers($0) }) else { return nil }
        func string(_ name: String) -> String? {
            guard let range = members.first(where: { $0.key == name })?.value, json.bytes[range.lowerBound] == UInt8(ascii: "\"")
            else { return nil }
            return JSONText.unescape(json.bytes[range].dropFirst().dropLast())
        }
        func id(_ name: String) -> EventID? {
            guard let range = members.first(where: { $0.key == name })?.value else { return nil }
            return json.bytes[range].elementsEqual("null".utf8) ? EventID.none : string(name).flatMap { EventID($0) }
        }
        guard let stream = string("stream"), let generation = string("generation"), let start = id("start"),
            let after = id("after"), let common = id("common")
        else { return nil }
        self.init(
            generation: StreamGeneration(stream: stream, id: generation, start: start), after: after, common: common)
    }
}
