import EventStream
import Testing

@testable import EventStreamRelay

@Suite struct CloudEventTests {
    private static let generation = StreamGeneration(stream: "5f0c", id: "9a1b", start: .none)
    private static let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    private static func event(
        key: String? = nil, meta: String? = nil, data: String = #"{"n": 1.50}"#, isRedelivered: Bool = false
    ) throws -> CloudEvent {
        CloudEvent(
            event: Event(
                id: EventID(17), type: EventType("ORDER_PAID")!, data: try RawJSON(data),
                timestamp: EventTimestamp(microseconds: 1_700_000_000_000_042), key: key, meta: try meta.map { try RawJSON($0) }),
            generation: generation, isRedelivered: isRedelivered)
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    @Test func `an event in JSON has its data byte for byte`() throws {
        #expect(
            text(try Self.event().json) == #"{"specversion":"1.0","id":"17","source":"/eventstream/5f0c","type":"ORDER_PAID","#
                + #""time":"2023-11-14T22:13:20.000042Z","generation":"9a1b","datacontenttype":"application/json","data":{"n": 1.50}}"#
        )
    }

    @Test func `key, trace and a second delivery are attributes`() throws {
        let event = try Self.event(key: #"a"b"#, meta: #"{"x": 1, "traceparent": "\#(Self.trace)"}"#, isRedelivered: true)
        #expect(text(event.json).contains(#","partitionkey":"a\"b","traceparent":"\#(Self.trace)","redelivered":true,"data"#))
        #expect(
            event.headers.suffix(3).map { "\($0): \($1)" } == [
                "ce-partitionkey: a%22b", "ce-traceparent: \(Self.trace)", "ce-redelivered: true",
            ])
    }

    @Test(arguments: ["{}", "[]", #"{"traceparent": 1}"#, #"{"traceparent": "00-xyz"}"#, #"{"trace": ""}"#])
    func `what is no trace is left out`(_ meta: String) throws {
        #expect(try !Self.event(meta: meta).attributes.contains { $0.0 == "traceparent" })
    }

    @Test func `no attribute is empty`() throws { #expect(try !Self.event(key: "").attributes.contains { $0.1.isEmpty }) }

    @Test func `several events are an array`() throws {
        let event = try Self.event()
        #expect(text(CloudEvent.batch([event, event])) == "[\(text(event.json)),\(text(event.json))]")
    }

    /// HTTP Protocol Binding, section 3.1.3.2.
    @Test(arguments: [
        ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"), ("a%\"~", "a%25%22~"), ("\r\n", "%0D%0A"), ("/a:b", "/a:b"),
    ])
    func `headers are percent-encoded`(_ text: String, _ encoded: String) {
        #expect(CloudEvent.percentEncoded(text) == encoded)
    }
}
