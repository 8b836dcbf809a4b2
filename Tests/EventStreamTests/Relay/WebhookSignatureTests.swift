import EventStream
import EventStreamServer
import Testing

@testable import EventStreamRelay

@Suite struct WebhookSignatureTests {
    private static let first = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    private static let second = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

    /// The vector of the libraries of https://www.standardwebhooks.com.
    @Test func `a request is signed as others sign it`() throws {
        let headers = WebhookSecret.headers(
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: 1_614_265_330, body: Array(#"{"test": 2432232314}"#.utf8),
            secrets: try WebhookSecret.list(Self.first, of: "X"))
        #expect(
            headers.map { "\($0): \($1)" } == [
                "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp: 1614265330",
                "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ])
    }

    @Test func `while a secret is changed there is a signature of each`() throws {
        let both = WebhookSecret.headers(
            id: "a", timestamp: 1, body: [], secrets: try WebhookSecret.list("\(Self.second), \(Self.first)", of: "X"))
        let one = WebhookSecret.headers(id: "a", timestamp: 1, body: [], secrets: try WebhookSecret.list(Self.first, of: "X"))
        #expect(both[2].1.split(separator: " ").count == 2 && both[2].1.hasSuffix(" \(one[2].1)"))
        #expect(WebhookSecret.headers(id: "a", timestamp: 1, body: [], secrets: []).count == 2)
    }

    @Test(arguments: ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    func `what is no secret is refused, and not shown`(_ text: String) throws {
        let error = #expect(throws: ConfigurationError.self) { try WebhookSecret.list(text, of: "EVT_RELAY_SECRET") }
        #expect(error?.message.hasPrefix("EVT_RELAY_SECRET: ") == true)
        #expect(error?.message.contains(text.dropFirst(6)) == text.dropFirst(6).isEmpty)
        #expect("\(try WebhookSecret.list(Self.first, of: "X"))" == "[whsec_…]")
    }

    @Test func `the id is of the events, and the same whenever they are sent`() throws {
        func events(_ ids: Int64...) -> [CloudEvent] {
            ids.map {
                CloudEvent(
                    event: Event(id: EventID($0), type: EventType("A")!, data: .null, timestamp: .init(microseconds: 0)),
                    generation: StreamGeneration(stream: "s", id: "g", start: .none), isRedelivered: false)
            }
        }
        #expect(WebhookSecret.id(of: events(17)) == "g_17")
        let together = WebhookSecret.id(of: events(1, 2, 3))
        #expect(together == WebhookSecret.id(of: events(1, 2, 3)))
        #expect(together.hasPrefix("g_1_") && together != WebhookSecret.id(of: events(1, 3)) && !together.contains("."))
    }
}
