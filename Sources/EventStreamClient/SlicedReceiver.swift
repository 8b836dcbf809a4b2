public import EventStream
import Synchronization

/// Receives a share of a consumer that is cut into slices: several workers share the work, and the order of each key is kept.
///
///     let worker = try SlicedReceiver("BILLING", slices: 8, atMost: 2)
///     try await worker.forEach { event in try await invoice(event) }
///
/// All events with one key are of the same slice; an event without a key is of a slice by its id. Each slice has one worker at a time.
/// A worker takes slices that are free, as many as it may, and goes on trying: when another worker ends, its slices are taken over at
/// once, and after the pusher's `EVT_SESSION_TIMEOUT` when the worker falls silent.
public struct SlicedReceiver: Sendable {
    private let component: String
    private let configuration: ReceiverConfiguration
    private let slices: Int
    private let limit: Int

    /// After so long a worker tries the next slice.
    private static let pause = Duration.milliseconds(250)

    /// - Parameters:
    ///   - component: 1 to 16 of `A`-`Z`, `a`-`z`, `0`-`9` and `_`; not `LIVE`.
    ///   - slices: how many slices the consumer has, 2 to 256; the same for all workers.
    ///   - limit: how many slices this worker takes at most; at least 1. With 8 slices and 4 workers, 2 or more.
    ///   - configuration: how it connects, and what it wants. Each slice has a connection.
    /// - Throws: `InvalidRequest` for numbers or a configuration that cannot be; `LiveNotAllowed` for `LIVE`.
    public init(
        _ component: String, slices: Int, atMost limit: Int, _ configuration: ReceiverConfiguration = .init()
    ) throws(EventStreamError) {
        guard EventSlice.counts.contains(slices), limit >= 1 else {
            throw .invalidRequest("a consumer has 2 to 256 slices, and a worker takes at least one: not \(slices) and \(limit)")
        }
        (self.component, self.slices, self.limit, self.configuration) = (component, slices, min(limit, slices), configuration)
        // What is wrong with these is said now.
        _ = try receiver(of: EventSlice(0, of: slices))
    }

    /// Handler style, event by event: confirms what the handler returns from. An event it throws on comes again after a pause, and
    /// what follows in its slice comes after it. The handler is called for several slices at a time.
    ///
    /// Returns when the task is cancelled.
    ///
    /// - Throws: `InvalidRequest` if the consumer is registered without slices or with another number of slices.
    public func forEach(_ handler: @escaping @Sendable (Event) async throws -> Void) async throws(EventStreamError) {
        try await serve { _, receiver in
            do {
                try await receiver.forEach(handler)
            } catch {
                // What could be wrong was looked at in the beginning.
            }
        }
    }

    /// Handler style: confirms every batch the handler returns from; one it throws on comes again as a whole. A batch is of one
    /// slice; the handler is called for several slices at a time.
    ///
    /// Returns when the task is cancelled.
    ///
    /// - Throws: `InvalidRequest` if the consumer is registered without slices or with another number of slices.
    public func run(_ handler: @escaping @Sendable (EventBatch) async throws -> Void) async throws(EventStreamError) {
        try await serve { _, receiver in
            do {
                try await receiver.run(handler)
            } catch {
                // What could be wrong was looked at in the beginning.
            }
        }
    }

    private func receiver(of slice: EventSlice?) throws(EventStreamError) -> ReliableReceiver {
        var configuration = configuration
        configuration.slice = slice
        return try ReliableReceiver(component, configuration)
    }

    /// Serves slices by any means.
    ///
    /// - Parameters:
    ///   - note: is told what happens to the receivers of all slices.
    ///   - work: serves one slice, until there are no batches any more.
    package func serve(
        noting note: @escaping @Sendable (ReceiverSignal) -> Void = { _ in },
        _ work: @escaping @Sendable (EventSlice, ReliableReceiver) async -> Void
    ) async throws(EventStreamError) {
        let places = Places(slices)
        let outcome: Result<Void, EventStreamError> = await withTaskGroup(of: Result<Void, EventStreamError>.self) { group in
            for _ in 0..<limit { group.addTask { await self.keepPlace(in: places, note, work) } }
            while let outcome = await group.next() {
                guard case .failure = outcome else { continue }
                group.cancelAll()
                return outcome
            }
            return .success(())
        }
        try outcome.get()
    }

    /// Tries one slice after the other, and serves those that are free.
    private func keepPlace(
        in places: Places, _ note: @escaping @Sendable (ReceiverSignal) -> Void,
        _ work: @escaping @Sendable (EventSlice, ReliableReceiver) async -> Void
    ) async -> Result<Void, EventStreamError> {
        while !Task.isCancelled {
            let index = places.take()
            defer { places.giveBack(index) }
            do {
                let slice = EventSlice(index, of: slices)!
                let receiver = try receiver(of: slice)
                if let error = await serve(receiver, note, { await work(slice, $0) }) { return .failure(error) }
            } catch {
                return .failure(error)
            }
            try? await Task.sleep(for: SlicedReceiver.pause)
        }
        return .success(())
    }

    /// Serves a slice until another worker has it.
    ///
    /// - Returns: why this consumer cannot be served; nil otherwise.
    private func serve(
        _ receiver: ReliableReceiver, _ note: @escaping @Sendable (ReceiverSignal) -> Void,
        _ work: @escaping @Sendable (ReliableReceiver) async -> Void
    ) async -> EventStreamError? {
        await withTaskGroup(of: EventStreamError?.self) { group in
            group.addTask {
                await work(receiver)
                await receiver.stop()
                return nil
            }
            group.addTask {
                for await signal in receiver.signals {
                    note(signal)
                    guard case .workerError(let error) = signal else { continue }
                    guard error.code == .consumerBusy || error.code == .invalidRequest else { continue }
                    await receiver.stop()
                    return error.code == .invalidRequest ? error : nil
                }
                return nil
            }
            return await group.reduce(nil) { $0 ?? $1 }
        }
    }

    /// The slices that this worker does not try at the moment.
    private final class Places: Sendable {
        private let free: Mutex<[Int]>

        /// In an order of its own: workers that start together do not try the same ones.
        init(_ count: Int) { free = Mutex((0..<count).shuffled()) }

        func take() -> Int { free.withLock { $0.removeFirst() } }
        func giveBack(_ index: Int) { free.withLock { $0.append(index) } }
    }
}
