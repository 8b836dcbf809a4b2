import EventStream
import EventStreamClient
import Glibc
import TestSupport
import Testing

/// Consumers that read the history while everything is at work, and processes die.
@Suite(.serialized) struct ReplayFaultTests {
    private static let count = 20_000

    /// What there will be, once it is known.
    private actor Goal {
        private(set) var last: Int?
        func set(_ last: Int?) { self.last = last }
    }

    /// Polls until it has `last`, whatever happens to the pusher.
    private func poll(_ component: String, at endpoint: String, _ log: ReceivedLog, until isOver: () async throws -> Bool)
        async throws
    {
        let poller = try await PollClient([endpoint], timeout: .seconds(5))
        var last: EventID?
        while try await !isOver() {
            do throws(EventStreamError) {
                let events = try await poller.pollEvents(component, after: last)
                await log.received(events.map { Int($0.id.rawValue) })
                last = events.last?.id ?? last
            } catch {
                guard error.code?.isRetriable ?? false else { throw error }
                // What was not confirmed comes again.
                await log.begin()
                last = nil
                try await Task.sleep(for: .milliseconds(50))
            }
        }
        await poller.close()
    }

    @Test func `consumers that begin with discarded events get each, while pusher and archiver are killed`() async throws {
        try await Deployment.with { deployment in
            try await deployment.noteTruth()
            let settings = ["EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_SESSION_TIMEOUT": "1s", "EVT_MAX_CHUNK_EVENTS": "1000"]
            for half in 0..<2 {
                try await TestDatabase.execute(
                    """
                    INSERT INTO evt_queue (type, data, ts)
                    SELECT 'OLD', to_json(n), timestamp '2026-01-01' + \(half) * interval '1 day' FROM generate_series(1, \(Self.count / 2)) n
                    """, on: deployment.active)
            }
            var processes = try deployment.startRoles(settings)
            try await eventually("the discard", within: .seconds(60)) {
                let archived = try await deployment.archived()
                guard archived == Self.count else { return false }
                return try await deployment.backlog() == 0
            }
            let endpoint = deployment.environment["EVT_PUSHER_CONNECT"]!
            let poller = try await PollClient([endpoint])
            let middle = EventTimestamp(wire: "2026-01-02T00:00:00Z".utf8)!
            for (name, start) in [("FIRST", StartPosition.first), ("POLLS", .first), ("SINCE", .since(middle))] {
                try await poller.registerConsumer(name, start: start)
            }
            let pushed = PersistentReceiver("FIRST", at: [endpoint], timeout: .seconds(1))
            let since = PersistentReceiver("SINCE", at: [endpoint], timeout: .seconds(1))
            for receiver in [pushed, since] { try await receiver.start() }
            let (polled, goal) = (ReceivedLog(), Goal())
            let polling = Task {
                try await poll("POLLS", at: endpoint, polled) {
                    guard let last = await goal.last else { return false }
                    return await polled.newest == last
                }
            }
            var load = WriterLoad(writers: 2, seed: 17, idle: 20)
            load.reconnects = true
            try await load.run(on: deployment.active) {
                var random = SplitMix(seed: 17)
                for round in 0..<6 {
                    let name = random.chance(70) ? "evt-pusher" : "evt-archiver"
                    processes[name]?.signal(SIGKILL)
                    _ = try await processes[name]?.ended()
                    processes[name] = try deployment.start(name, [], settings)
                    let before = await pushed.log.firstOccurrences.count
                    try await eventually("further events in round \(round)", within: .seconds(60)) {
                        await pushed.log.firstOccurrences.count > before
                    }
                }
            }
            let truth = try await TestDatabase.rows("SELECT id FROM truth ORDER BY id", on: deployment.active).map {
                Int($0[0]!)!
            }
            await goal.set(truth.last)
            try await polling.value
            for receiver in [pushed, since] {
                try await eventually("the last event for \(receiver.name)", within: .seconds(60)) {
                    await receiver.log.newest == truth.last
                }
                await receiver.stop()
            }
            for (name, log, expected) in [
                ("FIRST", pushed.log, truth), ("POLLS", polled, truth),
                ("SINCE", since.log, Array(truth.dropFirst(Self.count / 2))),
            ] {
                let received = await log.firstOccurrences
                #expect(received.count == expected.count, "\(name)")
                #expect(received.elementsEqual(expected), "\(name)")
                #expect(await log.wentBack == [], "\(name)")
            }
            try await eventually("the archive", within: .seconds(60)) { try await deployment.archived() == truth.count }
            let sums = try await TestDatabase.rows("SELECT count(*), sum(id) FROM evt_history", on: deployment.warehouse)
            #expect(sums == [["\(truth.count)", "\(truth.reduce(0, +))"]])
            for (name, process) in processes {
                #expect(try await process.terminate().status == 0, "\(name)")
            }
        }
    }
}
