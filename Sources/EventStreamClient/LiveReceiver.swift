public import EventStream
package import PosixLoop

/// Receives what happens from now on, as fast as it can take it; events it is too slow for are dropped.
///
///     for await events in try LiveReceiver().events { … }
public actor LiveReceiver {
    private nonisolated let loop: EventLoop
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private let engine: ReceiverEngine
    private let atEnd: AtEnd
    /// What happens, for logs and metrics. The newest 1000 are kept for a reader who falls behind.
    public nonisolated let signals: AsyncStream<ReceiverSignal>
    private nonisolated let continuation: AsyncStream<ReceiverSignal>.Continuation

    /// - Throws: `InvalidRequest` for an endpoint that is none, or keys of the environment that cannot be used.
    public init(_ configuration: ReceiverConfiguration = .init()) throws(EventStreamError) {
        try self.init(configuration, loop: .clients)
    }

    /// - Parameter loop: the thread of the receiver.
    package init(_ configuration: ReceiverConfiguration = .init(), loop: EventLoop) throws(EventStreamError) {
        let configuration = try configuration.resolved()
        self.loop = loop
        let (signals, continuation) = AsyncStream.makeStream(of: ReceiverSignal.self, bufferingPolicy: .bufferingNewest(1000))
        (self.signals, self.continuation) = (signals, continuation)
        let engine = ReceiverEngine(configuration, component: .live, loop: loop) { continuation.yield($0) }
        self.engine = engine
        atEnd = AtEnd(of: engine, on: loop) { $0.finish() }
    }

    /// Connects and begins to receive; reconnects until ``stop()``.
    public func start() throws(EventStreamError) { try engine.start() }

    /// Ends the session at the pusher and the sequence of events.
    public func stop() async {
        await withCheckedContinuation { continuation in engine.stop { continuation.resume() } }
        continuation.finish()
    }

    /// The events, in batches; starts the receiver. For one reader.
    public nonisolated var events: LiveEvents { LiveEvents(receiver: self) }

    func next() async -> [Event]? {
        guard engine.startOrReport() else { return nil }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                engine.next { [engine] batch in
                    if let batch { engine.batches.succeeded(batch.events.count) }
                    continuation.resume(returning: batch?.events)
                }
            }
        } onCancel: {
            Task { await self.stop() }
        }
    }
}

/// A live receiver's events, as they come.
public struct LiveEvents: AsyncSequence, Sendable {
    let receiver: LiveReceiver

    public struct AsyncIterator: AsyncIteratorProtocol {
        let receiver: LiveReceiver
        public mutating func next() async -> [Event]? { await receiver.next() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(receiver: receiver) }
}
