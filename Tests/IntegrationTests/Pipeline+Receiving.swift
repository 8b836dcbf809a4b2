import EventStream
import EventStreamClient
import PosixLoop
import TestSupport
import Testing

/// Everyone an event goes to: a reliable receiver, a poller, a LIVE session and a plain subscriber.
struct Followers: Sendable {
    let pushed = Collector()
    let polled = Collector()
    let live = Collector()
    let broadcast: Subscriber
    /// The last event before those that everybody must get.
    let start: EventID

    /// Follows the stream on every path while `body` runs.
    ///
    /// - Parameter outages: whether a poll may be answered with an error; it is then made again.
    static func with(
        _ pipeline: Pipeline, outages: Bool = false, _ body: (Followers) async throws -> Void
    ) async throws {
        let broadcast = Subscriber(pipeline.liveEndpoint)
        try await broadcast.waitUntilSubscribed { try await pipeline.record("PROBE") }
        let loop = EventLoop()
        defer { loop.stop() }
        let live = try LiveReceiver(.init(endpoints: [pipeline.pusherEndpoint]), loop: loop)
        try await live.start()
        for await signal in live.signals { if case .ready = signal { break } }
        let followers = Followers(broadcast: broadcast, start: try await pipeline.record("START")[0])
        let poller = try await pipeline.poller()
        try await poller.registerConsumer("POLLED")
        let watching = Task { for await events in live.events { await followers.live.add(events) } }
        let polling = Task { await followers.poll(poller, outages: outages) }
        let outcome: Result<Void, any Error>
        do {
            outcome = .success(
                try await pipeline.receiving("PUSHED", into: followers.pushed) { _ in try await body(followers) })
        } catch {
            outcome = .failure(error)
        }
        polling.cancel()
        await live.stop()
        await broadcast.close()
        _ = await (polling.value, watching.value)
        try outcome.get()
    }

    private func poll(_ poller: PollClient, outages: Bool) async {
        var last: EventID?
        while !Task.isCancelled {
            do {
                let events = try await poller.pollEvents("POLLED", after: last)
                await polled.add(events)
                last = events.last?.id ?? last
            } catch {
                guard outages else {
                    Issue.record(error, "a poll failed")
                    return
                }
            }
        }
    }

    /// Waits until everybody has these events, all there are since the start, and expects nothing but them, in order.
    @discardableResult
    func get(_ expected: [EventID]) async throws -> [(path: String, events: [Event])] {
        var seen: [(path: String, events: [Event])] = []
        for path in ["push", "poll", "LIVE", "broadcast"] {
            try await eventually("all events on \(path)") { await received(on: path).count >= expected.count }
            let events = await received(on: path)
            #expect(events.map(\.id) == expected, "\(path)")
            seen.append((path, events))
        }
        return seen
    }

    private func received(on path: String) async -> [Event] {
        let all =
            switch path {
            case "push": await pushed.events
            case "poll": await polled.events
            case "LIVE": await live.events
            default: await broadcast.events
            }
        return all.filter { $0.id > start }
    }
}

extension Pipeline {
    /// Receives and confirms as a consumer while `body` runs.
    func receiving(
        _ component: String, want: [String]? = nil, into collector: Collector = Collector(),
        configure: (inout ReceiverConfiguration) -> Void = { _ in }, _ body: (Collector) async throws -> Void
    ) async throws {
        // A thread of its own: tests that run at the same time would wait for each other's.
        let loop = EventLoop()
        defer { loop.stop() }
        let receiver = try receiver(component, want: want, loop: loop, configure: configure)
        let reading = Task {
            for await batch in receiver.batches {
                await collector.add(batch.events)
                await batch.confirm()
            }
        }
        let listening = Task {
            for await signal in receiver.signals {
                switch signal {
                case .workerError(let error), .receiverError(let error): await collector.failed(error)
                case .ready, .newEvents, .processedEvents, .newGeneration: break
                }
            }
        }
        let outcome: Result<Void, any Error>
        do {
            outcome = .success(try await body(collector))
        } catch {
            outcome = .failure(error)
        }
        await receiver.stop()
        _ = await (reading.value, listening.value)
        try outcome.get()
    }

    /// The ids of all events in the active table.
    func recorded() async throws -> [EventID] {
        try await TestDatabase.rows("SELECT id FROM evt_queue ORDER BY id", on: active).map { EventID($0[0]!)! }
    }
}
