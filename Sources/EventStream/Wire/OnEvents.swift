/// The pusher's call to a receiver: `futoin.evt.receiver:1.1:onEvents` (protocol, section 4).
package struct OnEvents: Hashable, Sendable {
    package let sequence: UInt64
    /// Another number in each session of a peer; nil in sessions without partial processing.
    package let session: Int64?
    /// Whether its one event was parked, and is delivered again: its id is lower than what came before.
    package let isParked: Bool
    package let events: [Event]
    package let rid: RequestID?

    private static let function = "futoin.evt.receiver:1.1:onEvents"

    /// The payload frame of a call with a group's events.
    package static func encoded(
        sequence: UInt64, session: Int64? = nil, isParked: Bool = false, group: EventGroup, rid: RequestID
    ) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(group.bytes + 128)
        output.append(contentsOf: "{\"f\":\"\(function)\",\"p\":{\"seq\":\(sequence)".utf8)
        if let session { output.append(contentsOf: ",\"session\":\(session)".utf8) }
        if isParked { output.append(contentsOf: ",\"parked\":true".utf8) }
        output.append(contentsOf: ",\"events\":".utf8)
        group.append(to: &output)
        output.append(UInt8(ascii: "}"))
        rid.append(to: &output)
        output.append(UInt8(ascii: "}"))
        return output
    }

    /// Reads a request that a receiver got.
    package init(_ request: WireMessage.Request) throws(EventStreamError) {
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
        session = try request.parameters["session"].map { value throws(EventStreamError) in
            guard let session = Int64(value.description) else { throw .invalidRequest("session must be an integer") }
            return session
        }
        isParked = request.parameters["parked"] == .true
        self.sequence = sequence
        self.events = try Event.list(decoding: events)
        rid = request.rid
    }

    /// Reads a call out of its payload frame in one pass.
    ///
    /// - Returns: nil for anything that is not such a call, or not in its usual form; ``WireMessage`` tells what it is.
    package init?(frame: [UInt8]) {
        let call = frame.withUnsafeBufferPointer { bytes -> (UInt64, Int64?, Bool, [Event], RequestID?)? in
            try? OnEvents.scan(bytes)
        }
        guard let call else { return nil }
        (sequence, session, isParked, events, rid) = call
    }

    private static func scan(_ bytes: UnsafeBufferPointer<UInt8>) throws -> (UInt64, Int64?, Bool, [Event], RequestID?)? {
        var scanner = JSONScanner(bytes)
        var isCall = false
        var hasParameters = false
        var sequence: UInt64?
        var session: Int64?
        var isParked = false
        var events: [Event]?
        var rid: RequestID?
        try scanner.expect(UInt8(ascii: "{"))
        repeat {
            scanner.skipWhitespace()
            let key = bytes[try scanner.string()]
            try scanner.expect(UInt8(ascii: ":"))
            scanner.skipWhitespace()
            if key.elementsEqual("f".utf8), !isCall {
                guard bytes[try scanner.string()].elementsEqual(function.utf8) else { return nil }
                isCall = true
            } else if key.elementsEqual("rid".utf8), rid == nil {
                rid = RequestID(contents: Array(bytes[try scanner.string()]))
            } else if key.elementsEqual("p".utf8), !hasParameters {
                hasParameters = true
                try scanner.expect(UInt8(ascii: "{"))
                repeat {
                    scanner.skipWhitespace()
                    let name = bytes[try scanner.string()]
                    try scanner.expect(UInt8(ascii: ":"))
                    if name.elementsEqual("seq".utf8), sequence == nil {
                        sequence = UInt64(String(decoding: bytes[try scanner.value()], as: UTF8.self))
                        guard sequence != nil else { return nil }
                    } else if name.elementsEqual("session".utf8), session == nil {
                        session = Int64(String(decoding: bytes[try scanner.value()], as: UTF8.self))
                        guard session != nil else { return nil }
                    } else if name.elementsEqual("parked".utf8), !isParked {
                        isParked = bytes[try scanner.value()].elementsEqual("true".utf8)
                        guard isParked else { return nil }
                    } else if name.elementsEqual("events".utf8), events == nil {
                        var decoder = EventDecoder(scanner)
                        events = try decoder.list()
                        scanner = decoder.scanner
                    } else {
                        return nil
                    }
                } while scanner.take(UInt8(ascii: ","))
                try scanner.expect(UInt8(ascii: "}"))
            } else {
                return nil
            }
        } while scanner.take(UInt8(ascii: ","))
        try scanner.expect(UInt8(ascii: "}"))
        try scanner.end()
        guard isCall, let sequence, let events else { return nil }
        return (sequence, session, isParked, events, rid)
    }
}
