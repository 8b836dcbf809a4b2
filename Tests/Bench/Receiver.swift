import EventStream
import EventStreamClient
import EventStreamPusher
import PosixLoop

/// A reliable receiver that checks the order of what it gets, and does nothing else with it.
actor Receiver {
    private let receiver: ReliableReceiver
    private var reading: Task<Void, Never>?
    private(set) var count = 0
    private(set) var last = EventID.none
    private var waiter: (Int, CheckedContinuation<Void, Never>)?

    private var handler: @Sendable (Event) -> Void = { _ in }

    init(_ component: String, _ endpoint: String, keys: ClientKeys? = nil, registers: Bool = false) throws {
        var configuration = ReceiverConfiguration(endpoints: [endpoint])
        configuration.keys = keys
        configuration.registers = registers
        receiver = try ReliableReceiver(component, configuration)
    }

    /// Starts a pusher and a receiver of a registered component, and runs `body` once the session has begun.
    static func with<Value>(
        _ component: String, in database: Database, keys: BenchKeys? = nil, archive: Database? = nil,
        _ body: (PusherProcess, Receiver) async throws -> Value
    ) async throws -> Value {
        try await database.register(component)
        return try await PusherProcess.with(database, keys: keys, archive: archive) { pusher in
            let receiver = try Receiver(component, pusher.endpoint, keys: keys?.client)
            try await receiver.start()
            await receiver.waitUntilReady()
            let value = try await body(pusher, receiver)
            await receiver.stop()
            return value
        }
    }

    func start() async throws {
        try await receiver.start()
        reading = Task { for await batch in receiver.batches { await self.add(batch) } }
    }

    func onEvent(_ handler: @escaping @Sendable (Event) -> Void) { self.handler = handler }

    private func add(_ batch: EventBatch) async {
        for event in batch.events {
            precondition(event.id > last, "out of order")
            last = event.id
            handler(event)
        }
        count += batch.events.count
        await batch.confirm()
        if let (target, continuation) = waiter, count >= target {
            waiter = nil
            continuation.resume()
        }
    }

    func waitUntilReady() async { for await signal in receiver.signals { if case .ready = signal { return } } }

    func wait(for target: Int) async {
        guard count < target else { return }
        await withCheckedContinuation { waiter = (target, $0) }
    }

    func stop() async {
        await receiver.stop()
        reading?.cancel()
    }
}
