import EventStream
import Testing

@Suite struct CallTests {
    private static let everything: Set<Interface> = [.generator, .poll, .push, .ping]

    private func call(_ function: String, _ parameters: String = "{}") throws -> Call {
        let bytes = Array("{\"f\":\"\(function)\",\"p\":\(parameters)}".utf8)
        guard case .request(let request) = try WireMessage(decoding: bytes) else {
            throw EventStreamError.internalError("no request")
        }
        return try Call(request, offering: Self.everything)
    }

    private let c = ConsumerComponent("C")!

    @Test func everyFunctionIsRead() throws {
        #expect(try call("futoin.ping:1.0:ping", #"{"echo":42}"#) == .ping(echo: json("42")))
        #expect(
            try call("futoin.evt.gen:1.1:addEvent", #"{"data":{"x":1},"type":"A_B"}"#)
                == .addEvent(type: EventType("A_B")!, data: json(#"{"x":1}"#)))
        for push in ["futoin.evt.poll", "futoin.evt.push"] {
            #expect(try call("\(push):1.1:registerConsumer", #"{"component":"C"}"#) == .registerConsumer(c))
            for (text, start) in [
                ("first", StartPosition.first), ("now", .now), ("17", .after(17)),
                ("2026-11-24T08:30:00Z", .since(EventTimestamp(wire: "2026-11-24T08:30:00Z".utf8)!)),
            ] {
                let parsed = try call("\(push):1.1:registerConsumer", #"{"component":"C","start":"\#(text)"}"#)
                #expect(parsed == .registerConsumer(c, start: start))
                #expect(try Call(parsed.request(rid: nil), offering: [.push]) == parsed)
            }
            #expect(try call("\(push):1.1:registerConsumer", #"{"component":"C","start":null}"#) == .registerConsumer(c))
            for text in [#""last""#, #""""#, "17", #""0""#, #""2026-11-24""#, "true"] {
                #expect(throws: EventStreamError.self) {
                    try call("\(push):1.1:registerConsumer", #"{"component":"C","start":\#(text)}"#)
                }
            }
            #expect(
                try call("\(push):1.0:pollEvents", #"{"component":"C","last_id":"5","want":["B","A"],"precise":true}"#)
                    == .pollEvents(
                        c, after: 5, want: EventFilter([EventType("A")!, EventType("B")!])!, fields: .microseconds))
            #expect(
                try call("\(push):1.1:pollEvents", #"{"component":"C"}"#)
                    == .pollEvents(c, after: nil, want: .all, fields: []))
        }
        #expect(
            try call("futoin.evt.push:1.1:readyToReceive", #"{"component":"LIVE","want":null,"precise":null}"#)
                == .readyToReceive(.live, want: .all, fields: []))
        for (text, fields) in [
            ("null", []), ("[]", []), (#"["us"]"#, .microseconds), (#"[ "meta", "key", "key" ]"#, [.key, .meta]),
            (#"["us","key","meta"]"#, .all), (#"["\u006bey"]"#, .key),
        ] as [(String, EventFields)] {
            let parsed = try call("futoin.evt.push:1.1:readyToReceive", #"{"component":"C","fields":\#(text)}"#)
            #expect(parsed == .readyToReceive(c, want: .all, fields: fields))
            #expect(try Call(parsed.request(rid: nil), offering: [.push]) == parsed)
            let poll = try call("futoin.evt.poll:1.1:pollEvents", #"{"component":"C","fields":\#(text),"precise":true}"#)
            #expect(poll == .pollEvents(c, after: nil, want: .all, fields: fields.union(.microseconds)))
            #expect(try Call(poll.request(rid: nil), offering: [.push]) == poll)
        }
        #expect(try call("futoin.evt.push:1.1:stopReceiving", #"{"component":"C"}"#) == .stopReceiving(c))
        for interface in ["poll", "push"] {
            #expect(try call("futoin.evt.\(interface):1.1:lag", #"{"component":"C"}"#) == .lag(c))
        }
    }

    @Test(arguments: ["futoin.evt.gen:1.1", "futoin.evt.poll:1.0", "futoin.evt.push:1.1"])
    func everyInterfaceAnswersPing(_ interface: String) throws {
        #expect(try call("\(interface):ping", #"{"echo":1}"#) == .ping(echo: json("1")))
    }

    @Test(arguments: ["0", "-1", "-0", "123456789012345678901234567890"])
    func pingEchoesEveryDigit(_ number: String) throws {
        #expect(try call("futoin.ping:1.0:ping", "{\"echo\":\(number)}") == .ping(echo: json(number)))
    }

    @Test(arguments: [
        "null", "\"\"", "0", "-0.0", "1e400", "123456789012345678901234567890.0123456789", #""\u0000""#, #""\ud800\udbff""#,
        #"{"b":1,"a":2,"b":3}"#, "[ 1 ,\t2 ]", #""\/\u0041A""#, #"{"é":"é"}"#, "false",
    ])
    func dataStaysAsItWasWritten(_ data: String) throws {
        let read = try call("futoin.evt.gen:1.1:addEvent", "{\"type\":\"A\",\"data\":\(data)}")
        #expect(read == .addEvent(type: EventType("A")!, data: RawJSON(unchecked: Array(data.utf8))))
    }

    @Test func escapesInStringsCountAsWhatTheyStandFor() throws {
        #expect(
            try call("futoin.evt.push:1.1:pollEvents", #"{"\u0063omponent":"\u0043","last_id":"\u0031","want":["\u0041"]}"#)
                == .pollEvents(c, after: 1, want: EventFilter([EventType("A")!])!, fields: []))
    }

    struct Refused: Sendable, CustomTestStringConvertible {
        let function: String
        let parameters: String
        var testDescription: String { "\(function) \(parameters)" }
    }

    private static let refused: [Refused] = {
        let component = [
            "{}", #"{"component":null}"#, #"{"component":1}"#, #"{"component":""}"#, #"{"component":"A-B"}"#,
            #"{"component":"ABCDEFGHIJKLMNOPQ"}"#, #"{"component":["C"]}"#, #"{"component":"C","extra":null}"#,
            #"{"component":"É"}"#, #"{"component":"C\u0000"}"#,
        ]
        let want = [
            "[]", "{}", "\"A\"", "1", "[1]", "[null]", "[\"a!\"]", "[\"*a\"]", "[\"\"]", "[\"A\",\"A B\"]", "[[\"A\"]]", "true",
            "[\"\(String(repeating: "A", count: 65))\"]",
        ].map { "{\"component\":\"C\",\"want\":\($0)}" }
        let precise = ["0", "1", "\"true\"", "[]"].map { "{\"component\":\"C\",\"precise\":\($0)}" }
        let fields = ["{}", "\"us\"", "[1]", "[null]", "[\"id\"]", "[\"key\",\"\"]", "[\"KEY\"]", "[[]]", "true"].map {
            "{\"component\":\"C\",\"fields\":\($0)}"
        }
        let last = ["0", "5", "\"\"", "\"0\"", "\"05\"", "\"-1\"", "\"1.0\"", "\" 1\"", "\"1000000000000000000\"", "true"].map {
            "{\"component\":\"C\",\"last_id\":\($0)}"
        }
        let event = [
            "{}", #"{"type":"A"}"#, #"{"data":1}"#, #"{"type":"a!","data":1}"#, #"{"type":"","data":1}"#, #"{"type":1,"data":1}"#,
            "{\"type\":\"\(String(repeating: "A", count: 65))\",\"data\":1}", #"{"type":"A*","data":1}"#,
            #"{"type":null,"data":1}"#,
            #"{"type":"A","data":1,"ts":1}"#, #"{"type":"A\n","data":1}"#,
        ]
        let echo = [
            "{}", #"{"echo":null}"#, #"{"echo":"1"}"#, #"{"echo":1.0}"#, #"{"echo":1e2}"#, #"{"echo":1,"x":2}"#, #"{"echo":[]}"#,
        ]
        var all: [Refused] = []
        func add(_ function: String, _ parameters: [String]) {
            all += parameters.map { Refused(function: function, parameters: $0) }
        }
        for interface in ["poll", "push"] {
            add("futoin.evt.\(interface):1.1:registerConsumer", component)
            add("futoin.evt.\(interface):1.1:pollEvents", component + want + precise + fields + last)
            add("futoin.evt.\(interface):1.1:lag", component)
        }
        add("futoin.evt.push:1.1:readyToReceive", component + want + precise + fields + [#"{"component":"C","last_id":null}"#])
        add("futoin.evt.push:1.1:stopReceiving", component)
        add("futoin.evt.gen:1.1:addEvent", event)
        add("futoin.ping:1.0:ping", echo)
        return all
    }()

    @Test(arguments: refused)
    func wrongMissingAndUnknownParametersAreInvalid(_ refused: Refused) {
        #expect(errorName { _ = try call(refused.function, refused.parameters) } == "InvalidRequest")
    }

    @Test(
        arguments: [
            ("futoin.evt.gen:1.0:addEvent", nil), ("futoin.evt.gen:1.2:addEvent", "NotSupportedVersion"),
            ("futoin.evt.gen:2.0:addEvent", "NotSupportedVersion"), ("futoin.evt.gen:0.1:addEvent", "NotSupportedVersion"),
            ("futoin.evt.gen:1.99999999999999999999:addEvent", "NotSupportedVersion"),
            ("futoin.ping:1.1:ping", "NotSupportedVersion"), ("futoin.evt.gen:1:addEvent", "InvalidRequest"),
            ("futoin.evt.gen:1.:addEvent", "InvalidRequest"), ("futoin.evt.gen:1.x:addEvent", "InvalidRequest"),
            ("futoin.evt.gen:1.1.1:addEvent", "InvalidRequest"), ("futoin.evt.gen:-1.0:addEvent", "InvalidRequest"),
            ("futoin.evt.gen:+1.0:addEvent", "InvalidRequest"), ("futoin.evt.gen:１.1:addEvent", "InvalidRequest"),
            ("futoin.evt.gen::addEvent", "InvalidRequest"), ("futoin.evt.gen:1.1:", "InvalidRequest"),
            (":1.1:addEvent", "InvalidRequest"),
            ("", "InvalidRequest"), ("addEvent", "InvalidRequest"), ("::", "InvalidRequest"), ("a:1.1:b:c", "InvalidRequest"),
            ("futoin.evt:1.1:addEvent", "UnknownInterface"), ("FUTOIN.EVT.GEN:1.1:addEvent", "UnknownInterface"),
            ("futoin.evt.receiver:1.1:onEvents", "UnknownInterface"), ("futoin.evt.gen:1.1:nope", "NotImplemented"),
            ("futoin.evt.gen:1.1:addevent", "NotImplemented"), ("futoin.evt.gen:1.1:pollEvents", "NotImplemented"),
            ("futoin.evt.poll:1.1:readyToReceive", "NotImplemented"), ("futoin.evt.poll:1.1:stopReceiving", "NotImplemented"),
            ("futoin.ping:1.0:pong", "NotImplemented"),
        ] as [(String, String?)])
    func functionsAreCheckedBeforeTheirParameters(_ function: String, _ error: String?) {
        #expect(errorName { _ = try call(function, #"{"type":"A","data":1}"#) } == error)
    }

    private func draft(_ more: String) throws -> Call {
        try call("futoin.evt.gen:1.1:addEvent", "{\"type\":\"A\",\"data\":1,\(more)}")
    }

    @Test func anEventMayHaveKeyMetaAndIdempotencyKey() throws {
        let data = try json("1")
        func draft(_ key: String? = nil, _ meta: RawJSON? = nil, _ once: String? = nil) -> Call {
            .addEvent(EventDraft(type: EventType("A")!, data: data, key: key, meta: meta, idempotencyKey: once))
        }
        #expect(try self.draft(#""key":"k\u00e9\ud83d\ude00""#) == draft("k\u{e9}\u{1f600}"))
        #expect(try self.draft(#""meta":{ "a":1.0 }"#) == draft(nil, json("{ \"a\":1.0 }")))
        #expect(try self.draft(#""idempotency_key":"x","key":null,"meta":null"#) == draft(nil, nil, "x"))
        let (longest, longestOnce) = (String(repeating: "k", count: 128), String(repeating: "o", count: 200))
        let largest = try json("{\"a\":\"\(String(repeating: "x", count: 4096 - 8))\"}")
        #expect(
            try self.draft("\"key\":\"\(longest)\",\"meta\":\(largest),\"idempotency_key\":\"\(longestOnce)\"")
                == draft(longest, largest, longestOnce))
    }

    @Test(arguments: [
        #""key":"""#, #""key":1"#, #""key":["k"]"#, #""key":"\u0000""#, #""key":"\ud800""#, #""idempotency_key":"""#,
        #""idempotency_key":7"#, #""idempotency_key":"a\u0000b""#, #""idempotency_key":"\udc00x""#, #""meta":[]"#,
        #""meta":"{}""#,
        #""meta":true"#, #""Key":"k""#, "\"key\":\"\(String(repeating: "k", count: 129))\"",
        "\"key\":\"\(String(repeating: "\u{e9}", count: 65))\"", "\"idempotency_key\":\"\(String(repeating: "k", count: 201))\"",
        "\"meta\":{\"a\":\"\(String(repeating: "x", count: 4096 - 7))\"}",
    ])
    func anyOtherKeyMetaOrIdempotencyKeyIsAnInvalidRequest(more: String) {
        #expect(errorName { _ = try draft(more) } == "InvalidRequest")
    }

    @Test func onlyOfferedInterfacesAreKnown() {
        let request = WireMessage.Request(function: "futoin.evt.push:1.1:registerConsumer")
        #expect(errorName { _ = try Call(request, offering: [.generator, .ping]) } == "UnknownInterface")
    }

    @Test func callsComeBackAsTheyWereMade() throws {
        let want = EventFilter([EventType("B")!, EventType("A_")!])!
        let calls: [Call] = [
            .ping(echo: try json("-7")), .addEvent(type: EventType("ABCDEFGHIJKLMNOP")!, data: try json("[1.00]")),
            .addEvent(
                EventDraft(
                    type: EventType("A")!, data: .null, key: "\u{e9}\"\n", meta: try json("{\"a\" :1}"), idempotencyKey: "once")),
            .registerConsumer(c), .pollEvents(c, after: nil, want: .all, fields: []),
            .pollEvents(.live, after: 999_999_999_999_999_999, want: want, fields: .microseconds),
            .readyToReceive(c, want: want, fields: []), .readyToReceive(.live, want: .all, fields: .microseconds),
            .readyToReceive(c, want: .all, fields: [], origin: true),
            .readyToReceive(c, want: .all, fields: [], partial: true),
            .readyToReceive(c, want: .all, fields: [], park: false), .stopReceiving(c), .lag(c),
            .archive(c, known: nil, token: "6a1c0e7a-9d0f-4c5b-8a55-0c7c5e3d2b10"),
            .archive(c, known: "0a1c0e7a-9d0f-4c5b-8a55-0c7c5e3d2b10", token: "6a1c0e7a-9d0f-4c5b-8a55-0c7c5e3d2b10"),
        ]
        for call in calls {
            guard case .request(let request) = try WireMessage(decoding: call.request(rid: .client(9)).encoded()) else { return }
            #expect(request.rid == .client(9))
            #expect(try Call(request, offering: Self.everything) == call)
        }
    }
}
