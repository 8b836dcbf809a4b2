import EventStream
import EventStreamClient
import PosixLoop

/// Someone who listens to the stream, in one of the ways there are; each on a thread of its own, as if in another process.
protocol Listener: Sendable {
    /// Listens until the task is cancelled.
    func listen(_ recording: Recording) async throws
}

/// A listener, and what is to be said about it at the end.
struct Listening: Sendable {
    let name: String
    let wanted: Wanted
    let allowance: Comparison.Allowance
    /// Whether it has a position to begin at, or hears only what comes after it is there.
    var hasPosition = false
    let listener: any Listener
    let recording = Recording()

    func comparison(with truth: Truth) -> Comparison {
        Comparison(
            committed: truth.ids(wanted), contents: recording.contents, allowance: allowance, fromFirst: !hasPosition)
    }
}

extension Listening {
    /// Consumers that must be registered.
    static let consumers = ["MIXALL", "MIXRARE", "MIXOFTEN", "MIXPROBE", "MIXPOLL"]

    /// The one whose receipts are timed: it has nothing else to do.
    static let timed = "push, probes"

    /// Everyone there is.
    ///
    /// - Parameters:
    ///   - start: where the reliable ones have been set to.
    ///   - live: where the broadcast is; empty where there is none.
    static func everyone(after start: EventID, pusher: [String], live: [String]) -> [Listening] {
        func push(_ name: String, _ component: String, _ want: EventFilter) -> Listening {
            Listening(
                name: name, wanted: .filter(want), allowance: .never, hasPosition: true,
                listener: PushListener(component: component, configuration: .init(endpoints: pusher, want: want)))
        }
        func poll(_ name: String, _ component: String) -> Listening {
            Listening(
                name: name, wanted: .all, allowance: .never, hasPosition: true,
                listener: PollListener(component: component, start: start, endpoints: pusher))
        }
        func subscriber(_ name: String, _ prefix: String) -> Listening {
            Listening(
                name: name, wanted: .prefix(prefix), allowance: .afterQueue(of: broadcastQueue / 2),
                listener: Subscriber(endpoints: live, prefix: prefix))
        }
        let reliable = [
            push("push, all", "MIXALL", .all), push("push, rare type", "MIXRARE", EventFilter([.mixRare])!),
            push("push, frequent type", "MIXOFTEN", EventFilter([.mixOften])!),
            push(timed, "MIXPROBE", EventFilter([.probe])!), poll("poll", "MIXPOLL"),
        ]
        let losing = [
            // The library does not tell where the server left groups out; the wire does.
            Listening(
                name: "LIVE push", wanted: .all, allowance: .untold,
                listener: LiveListener(configuration: .init(endpoints: pusher))),
            Listening(
                name: "LIVE push, wire", wanted: .all, allowance: .announced, listener: WireListener(endpoints: pusher)),
            poll("LIVE poll", ConsumerComponent.live.name),
        ]
        return reliable + losing + (live.isEmpty ? [] : [subscriber("XPUB, all", ""), subscriber("XPUB, MIX_O", "MIX_O")])
    }

    /// The broadcast's high-water mark. Once reached, a queue must be half empty before it takes more (zmq_setsockopt(3),
    /// and libzmq's `compute_lwm`), so between two drops at least half of it goes through.
    private static let broadcastQueue = 20_000
}

/// A registered consumer with a session.
struct PushListener: Listener {
    let component: String
    let configuration: ReceiverConfiguration

    func listen(_ recording: Recording) async throws {
        let loop = EventLoop()
        defer { loop.stop() }
        let receiver = try ReliableReceiver(component, configuration, loop: loop)
        let trouble = Task { for await signal in receiver.signals { signal.report(by: component) } }
        for await batch in receiver.batches {
            recording.got(batch.events)
            await batch.confirm()
        }
        await receiver.stop()
        trouble.cancel()
    }
}

/// A live session.
struct LiveListener: Listener {
    let configuration: ReceiverConfiguration

    func listen(_ recording: Recording) async throws {
        let loop = EventLoop()
        defer { loop.stop() }
        let receiver = try LiveReceiver(configuration, loop: loop)
        let trouble = Task { for await signal in receiver.signals { signal.report(by: "LIVE") } }
        for await events in receiver.events { recording.got(events) }
        await receiver.stop()
        trouble.cancel()
    }
}

/// Asks again and again; each question confirms what came before.
struct PollListener: Listener {
    let component: String
    let start: EventID
    let endpoints: [String]

    func listen(_ recording: Recording) async throws {
        let loop = EventLoop()
        defer { loop.stop() }
        let client = try await PollClient(endpoints, loop: loop)
        // Before the first event there is nothing to confirm.
        var last = start > .none ? start : nil
        var complaint = ""
        while !Task.isCancelled {
            do {
                let events = try await client.pollEvents(component, after: last)
                recording.got(events)
                last = events.last?.id ?? last
                if events.isEmpty { try? await Task.sleep(for: .milliseconds(5)) }
            } catch {
                if complaint != "\(error)" { print("  \(component): \(error)") }
                complaint = "\(error)"
                try? await Task.sleep(for: .milliseconds(200))
            }
        }
        await client.close()
    }
}

extension ReceiverSignal {
    /// Says what is not as it should be.
    fileprivate func report(by name: String) {
        switch self {
        case .workerError(let error), .receiverError(let error): print("  \(name): \(error)")
        case .newGeneration: print("  \(name): the database went back")
        case .ready, .newEvents, .processedEvents: break
        }
    }
}
