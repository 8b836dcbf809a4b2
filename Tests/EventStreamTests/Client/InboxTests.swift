import EventStream
import EventStreamClient
import Testing

struct InboxTests {
    private static let origin = StreamOrigin(
        generation: StreamGeneration(stream: "s", id: "g", start: EventID(100)), after: EventID(7), common: .none)

    private static func event(
        _ id: Int64, _ type: String = "ORDER_PAID", _ data: String = #"{"order": 17}"#, at microseconds: Int64 = 1_000_000,
        isPrecise: Bool = true
    ) throws -> Event {
        Event(
            id: EventID(id), type: try #require(EventType(type)), data: try RawJSON(data),
            timestamp: EventTimestamp(microseconds: microseconds), isPrecise: isPrecise)
    }

    private static func fingerprint(_ event: Event) -> String {
        Inbox("B").claim([event], of: origin, isParked: false).binds[3]
    }

    @Test func aClaimIsAStatementWithFiveTexts() throws {
        let events = [try Self.event(8), try Self.event(9, "REFUND")]
        let claim = Inbox("BILLING").claim(events, of: Self.origin, isParked: false)
        #expect(
            claim.sql
                == #"SELECT "evt_inbox_claim"($1::text, $2::text::json, $3::text::bigint[], $4::text::bigint[], $5::text::boolean)"#
        )
        #expect(
            claim.binds == [
                "BILLING", #"{"stream":"s","generation":"g","start":"100","after":"7","common":null}"#, "{8,9}",
                "{2723168335365936436,-1318435694454585663}", "false",
            ])
        #expect(Inbox("BILLING").claim(events, of: Self.origin, isParked: true).binds[4] == "true")
        let elsewhere = Inbox("B", schema: "my own").claim([], of: Self.origin, isParked: false)
        #expect(elsewhere.sql.contains(#""my own"."evt_inbox_claim"("#))
    }

    @Test func whatWasNotProcessedIsLeftInItsOrder() throws {
        let events = try [8, 9, 11].map { try Self.event($0) }
        let claim = Inbox("BILLING").claim(events, of: Self.origin, isParked: false)
        #expect(claim.unprocessed([11, 8]).map(\.id.rawValue) == [8, 11])
        #expect(claim.unprocessed([]) == [])
        #expect(claim.events == events)
    }

    @Test func aFingerprintDependsOnAllThereIsOfAnEvent() throws {
        let events = [
            try Self.event(8), try Self.event(8, "ORDER_PAI"), try Self.event(8, "REFUND"),
            try Self.event(8, "ORDER_PAID", #"{"order": 18}"#), try Self.event(8, at: 1_000_001),
            try Self.event(8, at: 2_000_000), try Self.event(8, isPrecise: false),
        ]
        #expect(Set(events.map(Self.fingerprint)).count == events.count)
        #expect(Self.fingerprint(try Self.event(8)) == Self.fingerprint(try Self.event(8)))
        // Without `precise` the fraction of the second is not known.
        let late = try Self.event(8, at: 1_999_999, isPrecise: false)
        #expect(Self.fingerprint(try Self.event(8, isPrecise: false)) == Self.fingerprint(late))
    }
}
