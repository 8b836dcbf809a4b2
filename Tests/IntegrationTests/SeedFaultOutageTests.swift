import EventStream
import EventStreamClient
import EventStreamPusher
import Glibc
import LibPQ
import LibZMQ
import TestSupport
import Testing

/// What stopped the seed: a database that answers with errors, a receiver that does, a server that is lost.
@Suite(.serialized) struct SeedFaultOutageTests {
    /// The seed sends an event that cannot be processed again 5,800 times a second, and nothing else gets through.
    @Test func aReceiverThatAnswersWithErrorsIsSentItsGroupAgainOnlyAfterAPauseAndHoldsUpNobody() async throws {
        // The first pause is longer than the test: whoever sees a second send saw one without a pause.
        try await Pipeline.with(configure: {
            $0.delivery.errorPause = .seconds(3600)
            $0.delivery.longestErrorPause = .seconds(3600)
        }) { pipeline in
            let failing = try pipeline.receiver("FAILING")
            let attempts = Collector()
            let rejecting = Task {
                for await batch in failing.batches {
                    await attempts.add(batch.events)
                    await batch.reject(because: "not today")
                }
            }
            let poison = try await pipeline.record("POISON")
            try await eventually("the first attempt") { await attempts.count >= 1 }
            try await pipeline.receiving("HEALTHY") { healthy in
                var recorded = poison
                for _ in 0..<50 {
                    recorded += try await pipeline.record("FINE")
                    try await eventually("the others' event") { await healthy.count >= recorded.count }
                }
                #expect(await healthy.ids == recorded)
                try await pipeline.stored(recorded, for: "HEALTHY")
            }
            #expect(await attempts.ids == poison)
            #expect(try await pipeline.position(of: "FAILING") == 0)
            await failing.stop()
            _ = await rejecting.value
        }
    }

    /// Failures of serialization reach the seed's poll clients as internal errors.
    @Test func aDatabaseThatIsSerializableByDefaultGivesPollersAndReceiversNoErrors() async throws {
        try await Pipeline.with([]) { pipeline in
            let name = try await TestDatabase.rows("SELECT current_database()", on: pipeline.active)[0][0]!
            try await TestDatabase.execute(
                "ALTER DATABASE \(name) SET default_transaction_isolation = 'serializable'", on: pipeline.active)
            try await pipeline.run([.pusher]) {
                let poller = try await pipeline.poller()
                try await poller.registerConsumer("POLLED")
                try await poller.registerConsumer("PUSHED")
                let others = (0..<3).map { _ in Task { try await touchConsumers(of: pipeline) } }
                var (recorded, polled): ([EventID], [EventID]) = ([], [])
                let pushed = Collector()
                for _ in 0..<20 {
                    recorded += try await pipeline.record("SERIAL", ["1", "2"])
                    // A claim, a position, a release.
                    try await pipeline.receiving("PUSHED", into: pushed) { _ in
                        try await eventually("the events") { await pushed.events.last?.id == recorded.last }
                    }
                    for _ in 0..<20 {
                        try await poller.registerConsumer("POLLED")
                        polled += try await poller.pollEvents("POLLED", after: polled.last).map(\.id)
                    }
                }
                for other in others { other.cancel() }
                for other in others { try await other.value }
                #expect(polled == recorded)
                #expect(Set(await pushed.ids) == Set(recorded))
                // A busy machine may be told of other things, such as a pusher that did not answer in time.
                let failures = await pushed.errors.map(\.description).filter { $0.contains("40001") || $0.contains("serialize") }
                #expect(failures == [])
            }
        }
    }

    /// Someone else changes the consumers' rows all the time.
    private func touchConsumers(of pipeline: Pipeline) async throws {
        try await TestDatabase.connected(to: pipeline.active) { connection in
            try await connection.query("SET default_transaction_isolation = 'read committed'")
            // In one order, or they would stand in each other's way.
            let touch = """
                UPDATE evt_consumers SET reg_time = reg_time
                FROM (SELECT id FROM evt_consumers ORDER BY id FOR UPDATE) locked WHERE evt_consumers.id = locked.id
                """
            while !Task.isCancelled {
                try await connection.query(.init(touch, name: "touch"))
                // Others get at the rows as well.
                try await connection.query(.init("SELECT pg_sleep(0.002)", name: "pause"))
            }
        }
    }

    /// A pusher whose signs of life end loses its sessions to others, and cannot keep any of its own.
    @Test func `a sign of life that could not be given is followed by others`() async throws {
        try await Pipeline.with(configure: { $0.sessionTimeout = .milliseconds(500) }) { pipeline in
            let beats = { @Sendable in
                try await TestDatabase.number("SELECT max(beat) FROM evt_queue_pushers", on: pipeline.active)
            }
            try await eventually("signs of life") { try await beats() > 1 }
            let before = try await TestDatabase.connected(to: pipeline.active) { connection in
                let waiting = Statement(
                    """
                    SELECT count(*) FROM pg_stat_activity
                    WHERE application_name = 'evt-pusher' AND datname = current_database() AND wait_event_type = 'Lock'
                    """)
                try await connection.query("BEGIN")
                try await connection.query("SELECT FROM evt_queue_pushers FOR UPDATE")
                try await eventually("a sign of life that waits") { try await connection.query(waiting).int(0, 0) == 1 }
                try await eventually("its failure") { try await connection.query(waiting).int(0, 0) == 0 }
                try await connection.query("COMMIT")
                return try await beats()
            }
            try await eventually("further signs of life") { try await beats() > before }
        }
    }

    /// The seed's receiver notices a lost server after 30 s.
    @Test func aReceiverNoticesALostServerWithoutWaitingForAnAnswer() async throws {
        try await Pipeline.with([]) { pipeline in
            // Nothing but the end of the connection can tell it.
            let patient = { (configuration: inout ReceiverConfiguration) in
                configuration.keepAlive = .seconds(3600)
                configuration.sessionTimeout = .seconds(3600)
            }
            try await pipeline.receiving("PATIENT", configure: patient) { seen in
                var recorded: [EventID] = []
                for _ in 0..<5 {
                    try await pipeline.run([.pusher]) {
                        recorded += try await pipeline.record("LIFE")
                        try await eventually("the event") { await seen.count >= recorded.count }
                    }
                }
                #expect(await seen.ids == recorded)
            }
        }
    }

    enum FirstEndpoint: CaseIterable {
        case nobodyThere
        /// A process that is stopped: its socket takes connections, and nobody shakes hands.
        case stopped
        /// It shakes hands, and answers nothing.
        case silent
    }

    @Test(arguments: FirstEndpoint.allCases)
    func `a receiver goes to the next endpoint when the first does not answer`(_ first: FirstEndpoint) async throws {
        try await Pipeline.with { pipeline in
            let recorded = try await pipeline.record("NEXT")
            let path = "\(pipeline.directory)/first"
            let silent = first == .silent ? try Socket(.router, in: Context(), options: [.linger(.zero)]) : nil
            _ = try silent?.bind("ipc://\(path)")
            let stopped = first == .stopped ? try UnservedSocket(path) : nil
            try await pipeline.receiving("NEXT") {
                $0.endpoints = ["ipc://\(path)", pipeline.pusherEndpoint]
                $0.sessionTimeout = .seconds(2)
            } _: { seen in
                try await eventually("the event") { await seen.ids == recorded }
            }
            withExtendedLifetime((silent, stopped)) {}
        }
    }
}

/// A unix socket whose connections the kernel takes and nobody serves.
private final class UnservedSocket {
    private let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)

    init(_ path: String) throws {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0 && listen(descriptor, 16) == 0)
    }

    deinit { close(descriptor) }
}

extension Pipeline {
    /// Waits until the last of the events is a consumer's stored position.
    fileprivate func stored(_ events: [EventID], for component: String) async throws {
        try await eventually("the position of \(component)") {
            try await position(of: component) == Int(events.last!.rawValue)
        }
    }
}
