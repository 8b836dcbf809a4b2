import ReferenceJSON

@testable import EventStream

private let everything = Set(Interface.allCases)

/// A message, as servers and clients read it.
func checkMessage(_ bytes: [UInt8]) {
    let value = try? RawJSON(validating: bytes)
    require((value != nil) == ReferenceJSON.accepts(bytes), "text is JSON by the grammar of RFC 8259 and by nothing else")
    if let value {
        require(value.bytes == bytes, "JSON stays as it was written")
        checkTravel(value)
    }
    do {
        let message = try WireMessage(decoding: bytes)
        require(value != nil, "a message is JSON")
        require((try? WireMessage(decoding: bytes, sizeLimit: bytes.count - 1)) == nil, "a message over the limit is not taken")
        checkReturn(message)
        if case .request(let request) = message { checkCall(request) }
    } catch {
        checkRefusal(error.error, rid: error.rid)
    }
}

/// What is written can be read, and is the same then.
private func checkReturn(_ message: WireMessage) {
    let encoded = message.encoded
    guard let decoded = try? WireMessage(decoding: encoded) else {
        return require(false, "a message that is written can be read")
    }
    require(decoded == message, "a message comes back as it was")
    // Swift takes some strings of different bytes for equal.
    require(decoded.encoded == encoded, "a message comes back byte for byte")
}

private func checkCall(_ request: WireMessage.Request) {
    do {
        let call = try Call(request, offering: everything)
        guard case .request(let again) = try? WireMessage(decoding: call.request(rid: request.rid).encoded()) else {
            return require(false, "a call can be read as a request")
        }
        require(again.rid == request.rid, "a call keeps its request id")
        require((try? Call(again, offering: everything)) == call, "a call comes back as it was made")
        checkReturn(.request(again))
        require((try? Call(request, offering: [])) == nil, "where nothing is offered nothing is called")
    } catch {
        checkRefusal(error, rid: request.rid)
    }
}

/// A refusal is answered with its text, which may quote what was refused.
private func checkRefusal(_ error: EventStreamError, rid: RequestID?) {
    checkReturn(.response(.init(outcome: .failure(error), rid: rid)))
}

/// The value as data, there and back: all but the white space around it.
private func checkTravel(_ value: RawJSON) {
    let blanks = Array(" \n\r\t".utf8)
    var text = value.bytes[...]
    text = text.drop { blanks.contains($0) }
    while let last = text.last, blanks.contains(last) { text.removeLast() }
    let request = Call.addEvent(type: EventType("TYPE")!, data: value).request(rid: .client(1))
    guard case .request(let there) = try? WireMessage(decoding: request.encoded()),
        case .addEvent(let draft) = try? Call(there, offering: [.generator])
    else { return require(false, "any value is data of an event") }
    require(draft.data.bytes[...] == text, "data travels byte for byte")
    let answer = WireMessage.Response(outcome: .success(value), rid: .client(1))
    guard case .response(let back) = try? WireMessage(decoding: answer.encoded()), case .success(let result) = back.outcome else {
        return require(false, "any value is a result")
    }
    require(result.bytes[...] == text, "a result travels byte for byte")
}

extension WireMessage {
    fileprivate var encoded: [UInt8] {
        switch self {
        case .request(let request): request.encoded()
        case .response(let response): response.encoded()
        }
    }
}
