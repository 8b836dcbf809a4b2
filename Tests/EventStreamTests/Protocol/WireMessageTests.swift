import EventStream
import Testing

@Suite struct WireMessageTests {
    private func decode(_ text: String, limit: Int = .max) throws(WireMessageFailure) -> WireMessage {
        try WireMessage(decoding: Array(text.utf8), sizeLimit: limit)
    }

    private func failure(_ text: String, limit: Int = .max) -> WireMessageFailure? {
        do {
            _ = try decode(text, limit: limit)
            return nil
        } catch { return error }
    }

    @Test func aRequestIsReadWithItsParametersRaw() throws {
        let message = try decode(#" { "rid" : "C1" , "p" : { "a" : [1, 2] , "b":1.50 } , "f" : "i:1.0:x" } "#)
        #expect(
            message
                == .request(
                    .init(function: "i:1.0:x", parameters: ["a": try json("[1, 2]"), "b": try json("1.50")], rid: .client(1))))
    }

    @Test func parametersAndRidMayBeLeftOut() throws {
        #expect(try decode(#"{"f":"i:1.0:x"}"#) == .request(.init(function: "i:1.0:x")))
    }

    @Test func keysThatMeanNothingHereAreAcceptedWhateverTheyHold() throws {
        #expect(try decode(#"{"f":"x","forcersp":true,"sec":{"u":[1]},"obf":"who"}"#) == .request(.init(function: "x")))
    }

    @Test(arguments: [#"{"f":"x","q":1}"#, #"{"f":"x","r":1}"#, #"{"f":"x","e":"E"}"#, #"{"f":"x","":0}"#, #"{"f":"x","F":0}"#])
    func unknownKeysOfARequestAreInvalid(_ text: String) {
        #expect(failure(text)?.error.name == "InvalidRequest")
    }

    @Test(arguments: [
        "", "null", "[]", "1", "\"f\"", "{}", "{\"rid\":\"C1\"}", "{\"f\":1}", "{\"f\":null}", "{\"f\":\"x\",\"p\":[]}",
        "{\"f\":\"x\",\"p\":null}", "{\"f\":\"x\",\"f\":\"x\"}", "{\"f\":\"x\",\"p\":{\"a\":1,\"a\":1}}", "{\"f\":\"x\"}{}",
        "{\"f\":\"x\"", "{\"e\":1}", "CBOR", "CBOR{\"f\":\"x\"}", "MPCK\u{1}", "\u{FEFF}{\"f\":\"x\"}",
        "{\"f\":\"x\",\"\\u0066\":\"y\"}",
    ])
    func whatIsNoMessageIsInvalid(_ text: String) {
        #expect(failure(text)?.error.name == "InvalidRequest")
    }

    @Test(arguments: ["1", "null", "{}", "[\"C1\"]", "true"])
    func aRidThatIsNoStringIsInvalid(_ rid: String) {
        #expect(failure("{\"f\":\"x\",\"rid\":\(rid)}")?.error.name == "InvalidRequest")
    }

    @Test(arguments: [#"{"f":1,"rid":"C7"}"#, #"{"f":"x","q":0,"rid":"C7"}"#, #"{"f":"x","p":0,"rid":"C7"}"#, #"{"rid":"C7"}"#])
    func theAnswerToAnInvalidRequestStillHasItsRid(_ text: String) {
        #expect(failure(text)?.rid == .client(7))
    }

    @Test func aRequestOverTheSizeLimitIsNotRead() {
        let text = #"{"f":"x","rid":"C1"}"#
        #expect(failure(text, limit: text.utf8.count) == nil)
        #expect(failure(text, limit: text.utf8.count - 1)?.error.name == "InvalidRequest")
        #expect(failure(text, limit: text.utf8.count - 1)?.rid == nil)
    }

    @Test(arguments: ["", "C1", "S18446744073709551615", "any text", #"\u0000\ud800"#, #"\"\\\/\u00E9"#, "é😀", "null"])
    func aRidIsEchoedAsItWasWritten(_ contents: String) throws {
        guard case .request(let request) = try decode("{\"f\":\"x\",\"rid\":\"\(contents)\"}") else { return }
        let answer = WireMessage.Response(outcome: .success(.null), rid: request.rid)
        #expect(String(decoding: answer.encoded(), as: UTF8.self) == "{\"r\":null,\"rid\":\"\(contents)\"}")
    }

    @Test func ridsMadeHereHaveTheirNumber() throws {
        #expect(RequestID.client(12).description == "C12")
        #expect(RequestID.server(.max).number == .max)
        for contents in ["", "C", "Cx", "C-1", "é", "C99999999999999999999"] {
            guard case .request(let request) = try decode("{\"f\":\"x\",\"rid\":\"\(contents)\"}") else { return }
            #expect(request.rid?.number == nil)
        }
    }

    @Test func requestsComeBackAsTheyWereSent() throws {
        let requests = [
            WireMessage.Request(function: "a:1.0:b"), .init(function: "q\"\\\n\u{1}é😀", rid: .client(1)),
            .init(
                function: "", parameters: ["": .null, "a\"b": try json("[1,{}]"), "é": try json("\"\\u0000\"")], rid: .server(2)),
        ]
        for request in requests { #expect(try WireMessage(decoding: request.encoded()) == .request(request)) }
    }

    @Test func answersComeBackAsTheyWereSent() throws {
        let answers = [
            WireMessage.Response(outcome: .success(.null), rid: nil),
            .init(outcome: .success(try json("{\"a\":[1.0,\"\\ud800\"]}")), rid: .client(3)),
            .init(outcome: .failure(.invalidRequest("a \"quoted\"\ntext é")), rid: .client(4)),
            .init(outcome: .failure(EventStreamError(name: "Odd\\Name", text: "")), rid: nil),
        ]
        for answer in answers { #expect(try WireMessage(decoding: answer.encoded()) == .response(answer)) }
    }

    @Test func answersOfOtherImplementationsMayHaveMoreKeys() throws {
        #expect(try decode(#"{"r":true,"sec":1,"x":2}"#) == .response(.init(outcome: .success(try json("true")), rid: nil)))
        #expect(
            try decode(#"{"e":"Oops"}"#)
                == .response(.init(outcome: .failure(EventStreamError(name: "Oops", text: "")), rid: nil)))
    }

    @Test func errorsReadWellInLogs() {
        #expect(EventStreamError.notRegistered("who?").description == "NotRegistered: who?")
        #expect(EventStreamError(name: "Timeout", text: "").description == "Timeout")
        let names = [
            EventStreamError.unknownInterface(""), .notSupportedVersion(""), .notImplemented(""), .invalidRequest(""),
            .unauthorized(""), .securityError(""), .internalError(""), .notRegistered(""), .liveNotAllowed(""), .consumerBusy(""),
        ].map(\.name)
        #expect(
            names == [
                "UnknownInterface", "NotSupportedVersion", "NotImplemented", "InvalidRequest", "Unauthorized",
                "SecurityError", "InternalError", "NotRegistered", "LiveNotAllowed", "ConsumerBusy",
            ])
    }
}
