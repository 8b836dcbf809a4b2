import TestSupport
import Testing

/// Every kind of transaction past every kind of listener, for a few seconds; `etc/up --mix` does the same for longer.
@Suite(.serialized) struct MixTests {
    @Test func everyListenerGetsWhatWasCommitted() async throws {
        try await Deployment.with { deployment in
            // Transactions may be prepared here, and one that has notified cannot be.
            let quiet = ["EVT_DATABASE_URL": deployment.active + " options='-c eventstream.notify=off'"]
            let pusher = try deployment.start("evt-pusher", [], quiet)
            let mix = try await deployment.start(
                "evt-load", ["mix", "--writers", "8", "--seconds", "5", "--delay-limit", "60000"], quiet
            )
            .ended(within: .seconds(300))
            #expect(mix.status == 0, "\(mix.text)\n\(pusher.output)")
            #expect(!mix.text.contains("left out"), "\(mix.text)")
            // Nothing of it stays.
            #expect(try await deployment.evt("consumers", "list").text.contains("MIX") == false)
            #expect(
                try await TestDatabase.rows("SELECT relname FROM pg_class WHERE relname = 'evt_queue_mix'", on: deployment.active)
                    == [])
            #expect(try await pusher.terminate().status == 0)
        }
    }
}
