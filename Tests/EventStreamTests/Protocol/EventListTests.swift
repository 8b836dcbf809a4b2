import EventStream
import Testing

@Suite struct EventListTests {
    private static let plain = #"{"id":"7","type":"USR_ADD","data":{"b":1,"a":[1.0]},"ts":"2024-02-29T23:59:59Z"}"#

    @Test func anEventIsWrittenAsTheProtocolSays() throws {
        let event = try Event(decoding: json(Self.plain))
        #expect(event.id == 7)
        #expect(event.type == EventType("USR_ADD"))
        #expect(event.data.description == #"{"b":1,"a":[1.0]}"#)
        #expect(event.timestamp.description == "2024-02-29T23:59:59Z")
        #expect(!event.isPrecise)
        #expect(String(decoding: event.json, as: UTF8.self) == Self.plain)
    }

    @Test(arguments: [0, 1, 7, 999_999])
    func aPreciseEventCarriesItsMicroseconds(_ fraction: Int64) throws {
        let text = Self.plain.dropLast() + ",\"us\":\(fraction)}"
        let event = try Event(decoding: json(String(text)))
        #expect(event.isPrecise)
        #expect(event.timestamp.fraction == fraction)
        #expect(String(decoding: event.json, as: UTF8.self) == text)
    }

    @Test(arguments: [
        #","key":"k""#, #","meta":{"b":1.0 ,"a":[]}"#, #","key":"\u0001\"é","meta":{}"#, #","us":7,"key":"","meta":{"a":null}"#,
    ])
    func anEventMayHaveKeyAndMeta(_ more: String) throws {
        let text = Self.plain.dropLast() + more + "}"
        let event = try Event(decoding: json(String(text)))
        #expect((event.key != nil) == more.contains("key") && (event.meta != nil) == more.contains("meta"))
        #expect(String(decoding: event.json, as: UTF8.self) == text)
    }

    @Test func keyAndMetaAreReadHoweverTheyAreWritten() throws {
        let text = #"{"m\u0065ta": {"a":1} ,"\u006bey" : "\u00e9\/" ,"id":"1","type":"A","data":1,"ts":"2024-02-29T23:59:59Z"}"#
        let event = try Event(decoding: json(text))
        #expect(event.key == "é/" && event.meta?.description == #" {"a":1} "#)
    }

    @Test func keysMayComeInAnyOrderWithSpaceBetweenThem() throws {
        let text = #" { "us" : 5 , "ts":"2024-02-29T23:59:59Z","data":  null ,"type":"A", "id":"1" } "#
        let event = try Event(decoding: json(text))
        // It may be part of what was recorded.
        #expect(event.data.description == "  null ")
        #expect(event.timestamp.fraction == 5)
    }

    @Test(arguments: [
        "{}", "[]", "null", #"{"id":7,"type":"A","data":1,"ts":"2024-02-29T23:59:59Z"}"#,
        #"{"id":"0","type":"A","data":1,"ts":"2024-02-29T23:59:59Z"}"#,
        #"{"id":"7","type":"a b","data":1,"ts":"2024-02-29T23:59:59Z"}"#,
        #"{"id":"7","type":null,"data":1,"ts":"2024-02-29T23:59:59Z"}"#, #"{"id":"7","type":"A","ts":"2024-02-29T23:59:59Z"}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2023-02-29T23:59:59Z"}"#, #"{"id":"7","type":"A","data":1,"ts":0}"#,
        #"{"id":"7","type":"A","data":1}"#, #"{"type":"A","data":1,"ts":"2024-02-29T23:59:59Z"}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","more":1}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","us":-1}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","us":1000000}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","us":1.5}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","us":"5"}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","key":null}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","key":5}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","key":"\ud800"}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","meta":[]}"#,
        #"{"id":"7","type":"A","data":1,"ts":"2024-02-29T23:59:59Z","meta":"{}"}"#,
    ])
    func whatIsNoEventIsInvalid(_ text: String) {
        #expect(errorName { _ = try Event(decoding: json(text)) } == "InvalidRequest")
        #expect(errorName { _ = try Event.list(decoding: json("[\(text)]")) } == "InvalidRequest")
    }

    @Test(arguments: [
        "null", "\"\"", "1E400", "-0", "123456789012345678901234567890.1234567890", #""\u0000\ud800""#, #"{"b":1,"a":2,"b":3}"#,
        "[ 1 ,\n\t2 ]", #""\/""#, "\"é漢😀\"",
    ])
    func dataTravelsVerbatimFromTheRowToTheReceiver(_ data: String) throws {
        let group = EventGroup(
            from: [page(after: 4, [event(5, data: data)])], after: 4, want: .all, fields: .microseconds,
            limits: .init(events: 10, bytes: 1000))
        let frame = OnEvents.encoded(sequence: 3, group: group, rid: .server(8))
        guard case .request(let request) = try WireMessage(decoding: frame) else { return }
        let call = try OnEvents(request)
        #expect(call.sequence == 3)
        #expect(call.rid == .server(8))
        #expect(call.events.map(\.data.description) == [data])
    }

    @Test func aListHasAtMostAThousandEvents() throws {
        func list(_ count: Int64) -> String {
            "[" + events(1...count).map { String(decoding: $0.json, as: UTF8.self) }.joined(separator: ",") + "]"
        }
        #expect(try Event.list(decoding: json("[]")).isEmpty)
        #expect(try Event.list(decoding: json(list(1000))) == events(1...1000))
        #expect(errorName { _ = try Event.list(decoding: json(list(1001))) } == "InvalidRequest")
    }

    @Test(arguments: [[2, 1], [1, 1], [1, 3, 2]] as [[Int64]])
    func idsOfAListMustIncrease(_ ids: [Int64]) {
        let text = "[" + events(ids).map { String(decoding: $0.json, as: UTF8.self) }.joined(separator: ",") + "]"
        #expect(errorName { _ = try Event.list(decoding: json(text)) } == "InvalidRequest")
    }

    @Test(arguments: ["null", "{}", "1", "\"[]\"", "[1]", "[null]", "[[]]"])
    func whatIsNoListIsInvalid(_ text: String) {
        #expect(errorName { _ = try Event.list(decoding: json(text)) } == "InvalidRequest")
    }

    @Test(
        arguments: [
            ("futoin.evt.receiver:1.1:onEvents", #"{"seq":0,"events":[]}"#, nil),
            ("futoin.evt.receiver:1.0:onEvents", #"{"seq":0,"events":[]}"#, nil),
            ("futoin.evt.receiver:1.1:onEvents", #"{"seq":18446744073709551615,"events":[]}"#, nil),
            ("futoin.evt.receiver:1.2:onEvents", #"{"seq":0,"events":[]}"#, "NotSupportedVersion"),
            ("futoin.evt.receiver:1.1:other", #"{"seq":0,"events":[]}"#, "NotImplemented"),
            ("futoin.evt.push:1.1:onEvents", #"{"seq":0,"events":[]}"#, "UnknownInterface"),
            ("onEvents", #"{"seq":0,"events":[]}"#, "UnknownInterface"),
            ("futoin.evt.receiver:1.1:onEvents", #"{"events":[]}"#, "InvalidRequest"),
            ("futoin.evt.receiver:1.1:onEvents", #"{"seq":0}"#, "InvalidRequest"),
            ("futoin.evt.receiver:1.1:onEvents", #"{"seq":-1,"events":[]}"#, "InvalidRequest"),
            ("futoin.evt.receiver:1.1:onEvents", #"{"seq":"0","events":[]}"#, "InvalidRequest"),
            ("futoin.evt.receiver:1.1:onEvents", #"{"seq":1.0,"events":[]}"#, "InvalidRequest"),
            ("futoin.evt.receiver:1.1:onEvents", #"{"seq":18446744073709551616,"events":[]}"#, "InvalidRequest"),
            ("futoin.evt.receiver:1.1:onEvents", #"{"seq":0,"events":{}}"#, "InvalidRequest"),
        ] as [(String, String, String?)])
    func aReceiverChecksWhatItIsCalledWith(_ function: String, _ parameters: String, _ error: String?) throws {
        let bytes = Array("{\"f\":\"\(function)\",\"p\":\(parameters),\"rid\":\"S1\"}".utf8)
        guard case .request(let request) = try WireMessage(decoding: bytes) else { return }
        #expect(errorName { _ = try OnEvents(request) } == error)
    }

    @Test(
        arguments: [
            (#"{"rid":"S1","p":{"events":[],"seq":3},"f":"futoin.evt.receiver:1.1:onEvents"}"#, true),
            (#"{"f":"x","f":"futoin.evt.receiver:1.1:onEvents","p":{"seq":3,"events":[]}}"#, false),
            (#"{"f":"futoin.evt.receiver:1.1:onEvents","p":{"seq":3},"p":{"events":[]}}"#, false),
            (#"{"f":"futoin.evt.receiver:1.1:onEvents","p":{"seq":"","seq":3,"events":[]}}"#, false),
            (#"{"f":"futoin.evt.receiver:1.1:onEvents","p":{"seq":3,"seq":3,"events":[]}}"#, false),
            (#"{"f":"futoin.evt.receiver:1.1:onEvents","p":{"seq":3,"events":[],"events":[]}}"#, false),
            (#"{"f":"futoin.evt.receiver:1.1:onEvents","p":{"seq":3,"events":[]},"rid":"S1","rid":"S1"}"#, false),
        ])
    func bothWaysToReadACallTakeTheSame(_ text: String, _ isTaken: Bool) {
        let frame = Array(text.utf8)
        #expect((OnEvents(frame: frame) != nil) == isTaken)
        guard case .request(let request) = try? WireMessage(decoding: frame) else { return #expect(!isTaken) }
        #expect((try? OnEvents(request)) == OnEvents(frame: frame))
    }

    @Test func aDraftHasTypeAndData() throws {
        let draft = try Event.draft(decoding: json(#"{"data":{"a":1.0},"type":"\u0041B"}"#))
        #expect(draft.type == "AB")
        #expect(draft.data.description == #"{"a":1.0}"#)
        let keyed = try Event.draft(decoding: json(#"{"data":1,"type":"A","key":"k","meta":{},"idempotency_key":"x"}"#))
        #expect(keyed.key == "k" && keyed.meta?.description == "{}" && keyed.idempotencyKey == "x")
        for text in [
            "{}", "[]", #"{"type":"A","data":1,"key":1}"#, #"{"type":"A"}"#, #"{"data":1}"#, #"{"type":1,"data":1}"#,
            #"{"type":"A","data":1,"id":"1"}"#,
        ] {
            #expect(errorName { _ = try Event.draft(decoding: json(text)) } == "InvalidRequest")
        }
    }
}
