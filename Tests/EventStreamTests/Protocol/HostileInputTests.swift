import TestSupport
import Testing

@testable import EventStream

/// Any bytes give a message or an error: a peer must not be able to stop a process.
@Suite struct HostileInputTests {
    private static let valid = [
        #"{"f":"futoin.evt.gen:1.1:addEvent","p":{"type":"USR_ADD","data":{"a":[1,2.5e-3,"\u00e9\ud83d\ude00"]}},"rid":"C1"}"#,
        #"{"f":"futoin.evt.push:1.1:pollEvents","p":{"component":"C","last_id":"17","#
            + #""want":["A","B"],"precise":true},"rid":"C2"}"#,
        #"{"f":"futoin.evt.push:1.1:readyToReceive","p":{"component":"LIVE","want":null},"sec":{"a":1},"rid":"C3"}"#,
        #"{"f":"futoin.evt.receiver:1.1:onEvents","p":{"seq":3,"events":[{"id":"7","type":"A","data":null,"#
            + #""ts":"2024-02-29T23:59:59Z","us":7},"#
            + #"{"id":"8","type":"B_","data":"é😀","ts":"2024-03-01T00:00:00Z"}]},"rid":"S1"}"#,
        #"{"f":"futoin.ping:1.0:ping","p":{"echo":-123456789012345678901234567890},"forcersp":true}"#,
        #"{"r":[{"id":"1","type":"A","data":{},"ts":"0001-01-01T00:00:00Z"}],"rid":"C4"}"#,
        #"{"e":"InvalidRequest","edesc":"no \"such\" thing","rid":"C5"}"#,
    ]

    private static let fragments: [[UInt8]] = [
        Array("\\u00".utf8), Array("\\ud800".utf8), Array("\\".utf8), Array("\"".utf8), [0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80],
        [0xF4, 0x90, 0x80, 0x80], [0], Array("{\"f\":".utf8), Array("[".utf8), Array("]}".utf8), Array("1e999999".utf8),
        Array("99999999999999999999".utf8), Array(",".utf8), Array("\"rid\":\"x\",".utf8), Array("null".utf8), Array("CBOR".utf8),
    ]

    private func mutate(_ bytes: inout [UInt8], _ random: inout SplitMix) {
        guard !bytes.isEmpty else { return bytes = Self.fragments.randomElement(using: &random)! }
        let position = random.below(bytes.count)
        switch random.below(8) {
        case 0: bytes.removeSubrange(position...)
        case 1: bytes[position] ^= 1 << UInt8(random.below(8))
        case 2: bytes[position] = UInt8(random.below(256))
        case 3: bytes.insert(contentsOf: Self.fragments.randomElement(using: &random)!, at: position)
        case 4: bytes.remove(at: position)
        case 5:
            let end = random.pick(position...bytes.count)
            bytes.insert(contentsOf: Array(bytes[position..<end]), at: random.pick(0...bytes.count))
        case 6: bytes.removeSubrange(position..<random.pick(position...bytes.count))
        default:
            let other = Array(Self.valid.randomElement(using: &random)!.utf8)
            bytes.replaceSubrange(position..., with: other[random.below(other.count)...])
        }
    }

    /// Everything a server or a client does with a frame before it acts on it.
    private func read(_ bytes: [UInt8]) -> WireMessage? {
        if let json = try? RawJSON(validating: bytes) {
            _ = try? Event.list(decoding: json)
            _ = try? Event(decoding: json)
            _ = try? Event.draft(decoding: json)
        }
        guard let message = try? WireMessage(decoding: bytes, sizeLimit: 1 << 20) else { return nil }
        switch message {
        case .request(let request):
            _ = try? Call(request, offering: Set(Interface.allCases))
            _ = try? OnEvents(request)
            _ = request.rid?.number
            for value in request.parameters.values {
                _ = try? Event.list(decoding: value)
                _ = try? Event(decoding: value)
            }
        case .response(let response):
            _ = response.rid?.number
            if case .success(let result) = response.outcome { _ = try? Event.list(decoding: result) }
        }
        return message
    }

    @Test func mutatedMessagesGiveAMessageOrAnError() async {
        await Simulation.check(stepsEach: 10) { seed in
            var random = SplitMix(seed: seed)
            var bytes = Array(Self.valid.randomElement(using: &random)!.utf8)
            for _ in 0..<10 {
                mutate(&bytes, &random)
                guard let message = read(bytes) else { continue }
                // What was understood must survive being written and read again.
                let encoded: [UInt8]
                switch message {
                case .request(let request): encoded = request.encoded()
                case .response(let response): encoded = response.encoded()
                }
                guard (try? WireMessage(decoding: encoded)) == message else {
                    return "\(String(decoding: bytes, as: UTF8.self)) does not survive a round trip"
                }
            }
            return nil
        }
    }

    @Test func randomBytesGiveAMessageOrAnError() {
        var random = SplitMix(seed: 1)
        for length in 0..<300 {
            _ = read((0..<length).map { _ in UInt8(random.below(256)) })
            _ = read(Array("{\"f\":\"".utf8) + (0..<length).map { _ in UInt8(random.below(256)) })
        }
    }

    /// What compares strings takes the square of the length of such a text: hours for these.
    @Test(arguments: [
        ("{\"", "\":0}"), ("{\"f\":\"x\",\"", "\":0}"), ("{\"r\":0,\"", "\":0}"), ("{\"f\":\"", "\"}"),
        ("{\"f\":\"futoin.ping:1.0:ping\",\"p\":{\"", "\":0}}"),
        ("{\"f\":\"futoin.evt.push:1.1:stopReceiving\",\"p\":{\"component\":\"A", "\"}}"),
        ("{\"f\":\"futoin.evt.push:1.1:pollEvents\",\"p\":{\"component\":\"A\",\"precise\":\"", "\"}}"),
        ("{\"f\":\"futoin.evt.push:1.1:pollEvents\",\"p\":{\"component\":\"A\",\"generation\":\"", "\"}}"),
        ("[{\"\\u0069\\u0064", "\":0}]"),
    ])
    func combiningMarksDoNotTakeTheSquareOfTheirNumber(_ before: String, _ after: String) {
        let marks = String(repeating: "\u{301}\u{323}", count: 1 << 20)
        #expect(ConsumerIdentity(marks) == nil)
        let bytes = Array((before + marks + after).utf8)
        if case .request(let request) = read(bytes) {
            #expect(errorName { _ = try Call(request, offering: Set(Interface.allCases)) } == "InvalidRequest")
        }
    }

    /// Wherever text may stand: keys and values, what is looked at and what is not.
    private static let texts = [
        ("{\"", "\":0}"), ("{\"f\":\"", "\"}"), ("{\"f\":\"x\",\"rid\":\"", "\"}"), ("{\"f\":\"x\",\"sec\":[\"", "\"]}"),
        ("{\"f\":\"x\",\"p\":{\"", "\":0}}"), ("{\"f\":\"x\",\"p\":{\"a\":\"", "\"}}"),
        ("{\"f\":\"x\",\"p\":{\"a\":{\"", "\":0}}}"),
        ("{\"r\":\"", "\"}"), ("{\"e\":\"", "\"}"), ("{\"e\":\"x\",\"edesc\":\"", "\"}"),
    ]

    @Test(
        arguments: texts,
        [
            [0x80], [0xFF], [0xC3], [0xC0, 0x80], [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xF0, 0x9F, 0x98], [0xF4, 0x90, 0x80, 0x80],
            [0x00], [0x1F], Array("\\".utf8), Array("\\x".utf8), Array("\\u".utf8), Array("\\u12".utf8),
            Array("\\ud83d\\ude0".utf8),
        ] as [[UInt8]])
    func badTextIsInvalidWhereverItStands(_ place: (String, String), _ text: [UInt8]) {
        let bytes = Array(place.0.utf8) + text + Array(place.1.utf8)
        #expect(errorName { _ = try WireMessage(decoding: bytes) } == "InvalidRequest")
    }

    @Test func everyPrefixOfAMessageGivesAnError() {
        for text in Self.valid {
            let bytes = Array(text.utf8)
            #expect(read(bytes) != nil)
            for length in 0..<bytes.count { #expect(read(Array(bytes.prefix(length))) == nil) }
        }
    }

    @Test func hostileNestingIsHarmlessWhereverItStands() throws {
        let deep = String(repeating: "[", count: 100_000)
        let closed = deep + String(repeating: "]", count: 100_000)
        for text in [deep, closed, "{\"a\":" + deep, "{\"f\":" + closed + "}", "{\"p\":\(deep)}", "{\"rid\":\(closed)}"] {
            #expect(read(Array(text.utf8)) == nil)
        }
        let request = "{\"f\":\"futoin.evt.gen:1.1:addEvent\",\"p\":{\"type\":\"A\",\"data\":\(closed)}}"
        let message = try WireMessage(decoding: Array(request.utf8))
        guard case .request(let decoded) = message else { return #expect(Bool(false), "not a request") }
        #expect(try Call(decoded, offering: [.generator]) == .addEvent(type: EventType("A")!, data: json(closed)))
        let want = "{\"f\":\"futoin.evt.push:1.1:readyToReceive\",\"p\":{\"component\":\"C\",\"want\":\(closed)}}"
        guard case .request(let bad) = try WireMessage(decoding: Array(want.utf8)) else { return }
        #expect(errorName { _ = try Call(bad, offering: [.push]) } == "InvalidRequest")
    }
}
