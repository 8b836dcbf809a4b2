/// The pusher's call to a receiver: `futoin.evt.receiver:1.1:onEvents` (protocol, section 4).
public struct OnEvents: Hashable, Sendable {
    public let sequence: UInt64
    public let events: [Event]
    public let rid: RequestID?

    private static let function = "futoin.evt.receiver:1.1:onEvents"

    /// The payload frame of a call with a group's events.
    public static func encoded(sequence: UInt64, group: EventGroup, rid: RequestID) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(group.elements.count + 128)
        output.append(contentsOf: "{\"f\":\"\(function)\",\"p\":{\"seq\":\(sequence),\"events\":[".utf8)
        output.append(contentsOf: group.elements)
        output.append(contentsOf: "]}".utf8)
        rid.append(to: &output)
        output.append(UInt8(ascii: "}"))
        return output
    }

    /// Reads a request that a receiver got.
    public init(_ request: WireMessage.Request) throws(FutoInError) {
        let parts = request.function.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == Interface.receiver.rawValue else {
            throw .unknownInterface("\(request.function.prefix(100)) is not offered here")
        }
        guard parts[1] == "1.0" || parts[1] == "1.1" else {
            throw .notSupportedVersion("futoin.evt.receiver is spoken up to version 1.1")
        }
        guard parts[2] == "onEvents" else { throw .notImplemented("futoin.evt.receiver has no \(parts[2].prefix(50))") }
        guard let sequence = request.parameters["seq"].flatMap({ UInt64($0.description) }) else {
            throw .invalidRequest("seq must be an integer of at least 0")
        }
        guard let events = request.parameters["events"] else { throw .invalidRequest("parameter events is missing") }
        self.sequence = sequence
        self.events = try Event.list(decoding: events)
        rid = request.rid
    }
}
