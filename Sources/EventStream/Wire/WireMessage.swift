/// One FTN3 message (FTN3 1.6 and 1.7), read from a payload frame.
package enum WireMessage: Hashable, Sendable {
    case request(Request)
    case response(Response)

    /// A call. Parameters stay raw until the function they are for is known.
    package struct Request: Hashable, Sendable {
        /// `iface:version:function`, as it was sent.
        package var function: String
        /// Parameter names with the JSON text of their values.
        package var parameters: [String: RawJSON]
        package var rid: RequestID?

        package init(function: String, parameters: [String: RawJSON] = [:], rid: RequestID? = nil) {
            self.function = function
            self.parameters = parameters
            self.rid = rid
        }
    }

    package struct Response: Hashable, Sendable {
        package var outcome: Result<RawJSON, EventStreamError>
        package var rid: RequestID?

        package init(outcome: Result<RawJSON, EventStreamError>, rid: RequestID?) {
            self.outcome = outcome
            self.rid = rid
        }
    }
}

/// Ties an answer to its call: any JSON string, echoed as it was written.
package struct RequestID: Hashable, Sendable, CustomStringConvertible {
    /// The string's contents between the quotes, escapes untouched.
    package let contents: [UInt8]

    init(contents: [UInt8]) { self.contents = contents }

    /// The calls of clients are `C1`, `C2`, …; those of the pusher `S1`, `S2`, … (protocol, section 2).
    package static func client(_ number: UInt64) -> RequestID { RequestID(contents: Array("C\(number)".utf8)) }
    package static func server(_ number: UInt64) -> RequestID { RequestID(contents: Array("S\(number)".utf8)) }

    /// The number of a request id made by ``client(_:)`` or ``server(_:)``.
    package var number: UInt64? { UInt64(String(decoding: contents.dropFirst(), as: UTF8.self)) }

    package var description: String { String(decoding: contents, as: UTF8.self) }
}

/// Why a frame is not a message, with the request id where it could still be read.
package struct WireMessageFailure: Error, Hashable, Sendable {
    package let error: EventStreamError
    package let rid: RequestID?
}

extension WireMessage {
    /// Reads a message. Any bytes give a message or an error; nothing traps.
    ///
    /// - Parameter sizeLimit: bytes a request may have; a longer one is not read at all.
    package init(decoding bytes: [UInt8], sizeLimit: Int = .max) throws(WireMessageFailure) {
        func invalid(_ text: String, _ rid: RequestID? = nil) -> WireMessageFailure {
            WireMessageFailure(error: .invalidRequest(text), rid: rid)
        }
        guard bytes.count <= sizeLimit else {
            throw invalid("the message has \(bytes.count) bytes; at most \(sizeLimit) are taken here (EVT_MAX_REQUEST_BYTES)")
        }
        guard !bytes.starts(with: "CBOR".utf8), !bytes.starts(with: "MPCK".utf8) else {
            throw invalid("only JSON is spoken here")
        }
        let members: [(key: String, value: Range<Int>)]
        do {
            members = try bytes.withUnsafeBufferPointer { bytes throws(JSONScanner.Failure) in
                try objectMembers(bytes)
            }
        } catch {
            throw invalid("not a JSON object: \(error.reason) at byte \(error.offset)")
        }

        var found: [String: Range<Int>] = [:]
        for (key, range) in members {
            guard found.updateValue(range, forKey: key) == nil else { throw invalid("the key \(key) appears twice") }
        }
        func string(_ key: String) -> [UInt8]? {
            guard let range = found[key], bytes[range.lowerBound] == UInt8(ascii: "\"") else { return nil }
            return Array(bytes[(range.lowerBound + 1)..<(range.upperBound - 1)])
        }
        let rid = string("rid").map { RequestID(contents: $0) }
        guard found["rid"] == nil || rid != nil else { throw invalid("rid must be a string") }

        if found["f"] != nil {
            guard let function = string("f").map({ JSONText.unescape($0) }), function.utf8.count <= functionLimit else {
                throw invalid("f must be a string of at most \(functionLimit) bytes", rid)
            }
            if let unknown = found.keys.sorted().first(where: { !["f", "p", "rid", "forcersp", "sec", "obf"].contains($0) }) {
                throw invalid("unknown key \(unknown) in the request", rid)
            }
            var request = Request(function: function, rid: rid)
            if let range = found["p"] {
                do {
                    request.parameters = try parameters(Array(bytes[range]))
                } catch {
                    throw WireMessageFailure(error: error, rid: rid)
                }
            }
            self = .request(request)
        } else if let name = string("e") {
            let text = string("edesc").map { JSONText.unescape($0) } ?? ""
            let error = EventStreamError(name: JSONText.unescape(name), text: text)
            self = .response(Response(outcome: .failure(error), rid: rid))
        } else if let range = found["r"] {
            self = .response(Response(outcome: .success(RawJSON(unchecked: Array(bytes[range]))), rid: rid))
        } else {
            throw invalid("neither a request (f) nor an answer (r or e)", rid)
        }
    }
}

private func parameters(_ bytes: [UInt8]) throws(EventStreamError) -> [String: RawJSON] {
    let members: [(key: String, value: Range<Int>)]
    do {
        members = try bytes.withUnsafeBufferPointer { bytes throws(JSONScanner.Failure) in try objectMembers(bytes) }
    } catch {
        throw .invalidRequest("p must be an object: \(error.reason)")
    }
    var parameters: [String: RawJSON] = [:]
    for (key, range) in members {
        guard parameters.updateValue(RawJSON(unchecked: Array(bytes[range])), forKey: key) == nil else {
            throw .invalidRequest("the parameter \(key) appears twice")
        }
    }
    return parameters
}

/// Bytes the key of an object of ours may have, and `f`.
///
/// Comparing strings takes the square of their length where they hold many combining marks: only short ones are compared.
private let keyLimit = 64
private let functionLimit = 256

/// The keys of an object that is the whole text, and where their values stand.
func objectMembers(_ bytes: UnsafeBufferPointer<UInt8>) throws(JSONScanner.Failure) -> [(key: String, value: Range<Int>)] {
    var scanner = JSONScanner(bytes)
    var members: [(key: String, value: Range<Int>)] = []
    try scanner.expect(UInt8(ascii: "{"))
    if !scanner.take(UInt8(ascii: "}")) {
        repeat {
            scanner.skipWhitespace()
            let key = try scanner.string()
            let name = JSONText.unescape(bytes[key])
            guard name.utf8.count <= keyLimit else { throw .init(offset: key.lowerBound, reason: "too long a key") }
            try scanner.expect(UInt8(ascii: ":"))
            members.append((name, try scanner.value()))
        } while scanner.take(UInt8(ascii: ","))
        try scanner.expect(UInt8(ascii: "}"))
    }
    try scanner.end()
    return members
}

extension WireMessage.Request {
    /// The request as a payload frame.
    package func encoded() -> [UInt8] {
        var output = Array("{\"f\":".utf8)
        JSONText.append(function, to: &output)
        output += Array(",\"p\":{".utf8)
        for (index, (name, value)) in parameters.sorted(by: { $0.key < $1.key }).enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            JSONText.append(name, to: &output)
            output.append(UInt8(ascii: ":"))
            output += value.bytes
        }
        output.append(UInt8(ascii: "}"))
        rid?.append(to: &output)
        output.append(UInt8(ascii: "}"))
        return output
    }
}

extension WireMessage.Response {
    /// The answer as a payload frame.
    package func encoded() -> [UInt8] {
        var output: [UInt8]
        switch outcome {
        case .success(let result): output = Array("{\"r\":".utf8) + result.bytes
        case .failure(let error):
            output = Array("{\"e\":".utf8)
            JSONText.append(error.name, to: &output)
            if !error.text.isEmpty {
                output += Array(",\"edesc\":".utf8)
                JSONText.append(error.text, to: &output)
            }
        }
        rid?.append(to: &output)
        output.append(UInt8(ascii: "}"))
        return output
    }
}

extension RequestID {
    func append(to output: inout [UInt8]) {
        output += Array(",\"rid\":\"".utf8)
        output += contents
        output.append(UInt8(ascii: "\""))
    }
}
