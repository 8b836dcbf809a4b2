import EventStream
import Testing

@Suite struct StreamOriginTests {
    private let generation = StreamGeneration(stream: "S", id: "1", start: 0)

    @Test(arguments: [EventID.none, 17]) func itIsReadAsItWasWritten(after: EventID) throws {
        let origin = StreamOrigin(generation: generation, after: after, common: after)
        #expect(StreamOrigin(origin.json) == origin)
        #expect(try RawJSON(validating: origin.json.bytes) == origin.json)
    }

    @Test func theFormIsTheProtocols() {
        let text = StreamOrigin(generation: generation, after: 17, common: 15).json.description
        #expect(text == #"{"stream":"S","generation":"1","start":null,"after":"17","common":"15"}"#)
        #expect(
            StreamOrigin(generation: generation, after: .none, common: .none).json.description.hasSuffix(
                #""after":null,"common":null}"#))
    }

    @Test(arguments: [
        "true", "null", "[]", "{}", #"{"stream":"S","generation":"1"}"#,
        #"{"stream":"S","generation":"1","start":null,"after":17,"common":null}"#,
        #"{"stream":"S","generation":"1","start":null,"after":"17"}"#,
        #"{"stream":"S","generation":"1","start":null,"after":"x","common":null}"#,
        #"{"stream":1,"generation":"1","start":null,"after":null}"#,
    ])
    func anythingElseIsNone(text: String) throws { #expect(StreamOrigin(try RawJSON(text)) == nil) }
}
