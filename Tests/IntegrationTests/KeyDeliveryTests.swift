import EventStream
import EventStreamClient
import EventStreamPusher
import TestSupport
import Testing

/// Key and meta on their way to receivers.
@Suite(.serialized) struct KeyDeliveryTests {
    private static let meta = "{ \"b\":1.0 ,\"a\":\"\\u00e9\"}"

    /// Three events in each hundred have a key, a meta, or both.
    private func record(_ count: Int, _ pipeline: Pipeline) async throws {
        try await TestDatabase.execute(
            """
            SELECT evt_add('KEYED', to_json(n), key => CASE WHEN n % 100 IN (1, 3) THEN 'é "' || n END,
                meta => CASE WHEN n % 100 IN (2, 3) THEN '\(Self.meta)'::json END) FROM generate_series(1, \(count)) n
            """, on: pipeline.active)
    }

    private func expect(_ events: [Event], from first: Int, to last: Int, _ fields: EventFields) {
        #expect(events.map(\.id.rawValue) == (first...last).map(Int64.init))
        for event in events {
            let (id, kind) = (event.id.rawValue, event.id.rawValue % 100)
            let key = fields.contains(.key) && (kind == 1 || kind == 3) ? "é \"\(id)" : nil
            let meta = fields.contains(.meta) && (kind == 2 || kind == 3) ? Self.meta : nil
            guard event.key != key || event.meta?.description != meta || event.isPrecise != fields.contains(.microseconds) else {
                continue
            }
            Issue.record("event \(id) has the key \(event.key ?? "-") and the meta \(event.meta?.description ?? "-")")
        }
    }

    @Test func receiversGetTheFieldsTheyAskedFor() async throws {
        try await Pipeline.with([.pusher]) { pipeline in
            try await record(2000, pipeline)
            let poller = try await pipeline.poller()
            for fields in [[], .key, .meta, [.key, .meta], .all] as [EventFields] {
                try await pipeline.receiving("R\(fields.rawValue)") {
                    $0.fields = fields
                    $0.start = .first
                } _: { collector in
                    try await eventually("all of them") { await collector.count == 2000 }
                    expect(await collector.events, from: 1, to: 2000, fields)
                }
                let polled = try await poller.pollEvents("LIVE", after: EventID(500), fields: fields)
                expect(polled, from: 501, to: 500 + polled.count, fields)
            }
        }
    }

    @Test func preciseIsOneOfTheFields() {
        var configuration = ReceiverConfiguration()
        #expect(configuration.fields == [] && !configuration.precise)
        configuration.precise = true
        #expect(configuration.fields == .microseconds)
        configuration.fields.insert(.key)
        configuration.precise = false
        #expect(configuration.fields == .key)
    }

    @Test func largeMetasAreReadInPagesAsAnythingElse() async throws {
        try await Pipeline.with([.pusher]) { pipeline in
            let large = "json_build_object('x', repeat('y', 4000))"
            try await TestDatabase.execute(
                "SELECT evt_add('LARGE', '1', key => repeat('k', 128), meta => \(large)) FROM generate_series(1, 5000)",
                on: pipeline.active)
            for fields in [.all, []] as [EventFields] {
                try await pipeline.receiving("L\(fields.rawValue)") {
                    $0.fields = fields
                    $0.start = .first
                } _: { collector in
                    try await eventually("all of them") { await collector.count == 5000 }
                    #expect(await collector.ids.map(\.rawValue) == Array(1...5000))
                    let sizes = Set(await collector.events.map { ($0.meta?.bytes.count ?? 0) + ($0.key?.utf8.count ?? 0) })
                    #expect(sizes == [fields.isEmpty ? 0 : 4010 + 128])
                }
            }
        }
    }
}
