import EventStream
import Testing

/// As large as anything that travels, 8 MiB: what took more than linear time would take hours.
@Suite struct LargeInputTests {
    private static let size = 8 << 20

    private static func repeated(_ text: String, _ bytes: Int) -> String {
        String(repeating: text, count: bytes / text.utf8.count)
    }

    private static let values = [
        "digits": repeated("1", size), "escapes": "\"" + repeated("\\u0000\\ud800\\n", size) + "\"",
        "members of one name": "{\"a\":0" + repeated(",\"a\":0", size) + "}",
        "nested objects": repeated("{\"\":", size * 4 / 5) + "0" + repeated("}", size / 5),
    ].mapValues { Array($0.utf8) }

    /// What a request for `addEvent` with this data is read as.
    private func data(_ data: [UInt8]) throws -> RawJSON? {
        let head = #"{"f":"futoin.evt.gen:1.1:addEvent","p":{"type":"A","data":"#
        guard case .request(let request) = try WireMessage(decoding: Array(head.utf8) + data + Array("}}".utf8)),
            case .addEvent(let draft) = try Call(request, offering: [.generator])
        else { return nil }
        return draft.data
    }

    @Test(arguments: values.keys.sorted()) func aLargeValueTravelsAsItIs(_ name: String) throws {
        let isSame = try data(Self.values[name]!)?.bytes == Self.values[name]
        #expect(isSame)
    }

    @Test(arguments: values.keys.sorted()) func aFaultAtItsEndIsFound(_ name: String) {
        let bytes = Array(Self.values[name]!.dropLast()) + [0xFF]
        #expect(errorName { _ = try data(bytes) } == "InvalidRequest")
    }

    @Test func aLargeNumberIsNoSequenceAndNoID() throws {
        let number = try RawJSON(Self.repeated("1", Self.size))
        let function = "futoin.evt.receiver:1.1:onEvents"
        #expect(
            errorName { _ = try OnEvents(.init(function: function, parameters: ["seq": number, "events": json("[]")])) }
                == "InvalidRequest")
        let id = RawJSON(string: number.description)
        let component = RawJSON(string: "A")
        let poll = WireMessage.Request(
            function: "futoin.evt.push:1.1:pollEvents", parameters: ["component": component, "last_id": id])
        #expect(errorName { _ = try Call(poll, offering: [.push]) } == "InvalidRequest")
    }
}
