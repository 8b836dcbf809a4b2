public import EventStream
package import PosixLoop

/// How a receiver connects and what it wants.
public struct ReceiverConfiguration: Sendable {
    /// The pusher's endpoint, or those of several pushers; the next one is tried when one is lost. None: those of the environment
    /// variable `EVT_PUSHER_CONNECT`, separated by commas; where it is not set, the standard pusher's.
    public var endpoints: [String]
    /// For a pusher that has keys. Nil, and no ``endpoints``: those of `EVT_CURVE_KEY` and `EVT_SERVER_KEY`, if these are set.
    public var keys: ClientKeys?
    public var want: EventFilter
    /// What events have besides id, type, data and time. A pusher that is too old for `EventFields.key` and
    /// `EventFields.meta` refuses a receiver that asks for these.
    public var fields: EventFields = []
    /// Whether timestamps have microseconds; the same as `EventFields.microseconds` in ``fields``.
    public var precise: Bool {
        get { fields.contains(.microseconds) }
        set { if newValue { fields.insert(.microseconds) } else { fields.remove(.microseconds) } }
    }
    /// Whether the consumer is registered on the way; only for reliable receivers.
    public var registers = true
    /// Where a consumer that is not registered yet begins; nil for the oldest event that is not discarded. Afterwards it goes on from
    /// its position.
    public var start: StartPosition?
    /// Whether one event can be rejected, and those before it confirmed, where the pusher is not too old for that.
    package var answersPartly = true
    /// Whether an event that fails again and again may be set aside, where the pusher is not too old for that.
    package var mayPark = true
    /// Which slice of the consumer it receives; nil for a consumer without slices.
    package var slice: EventSlice?
    /// Groups that wait are merged into one batch up to this many events.
    public var batchLimit = 1000
    /// While there is a backlog, how long a batch waits for more groups to join it: for work that is cheaper done at once.
    public var gathering = Duration.zero
    /// The newest event processed in an earlier life, if the application knows; it and older ones are dropped.
    public var processed = EventID.none
    /// The generation of the stream that event was of (`StreamOrigin`): an id of another one says nothing about this one.
    public var generation: String?
    /// How often the pusher gets a sign of life, if a third of ``sessionTimeout`` is not less.
    public var keepAlive = standardSessionTimeout / 3
    /// The pusher's `EVT_SESSION_TIMEOUT`: one that is not heard of for so long is given up, and so is a receiver.
    public var sessionTimeout = standardSessionTimeout

    public init(endpoints: [String] = [], want: EventFilter = .all) {
        self.endpoints = endpoints
        self.want = want
    }
}

/// What a receiver tells about itself: the seed's events.
public enum ReceiverSignal: Sendable {
    /// The session has begun; events follow.
    case ready
    /// So many events have arrived.
    case newEvents(Int)
    /// So many events have been confirmed.
    case processedEvents(Int)
    /// The session could not begin or was lost; it is tried again.
    case workerError(EventStreamError)
    /// A group could not be read or processed.
    case receiverError(EventStreamError)
    /// The database went back: events that were received may be lost there, and their ids may come again with other events. The
    /// receiver goes on from the position the database has, and takes nothing for processed.
    case newGeneration(String)
}

/// Receives every event a registered consumer wants, at least once, in order.
///
///     let receiver = try ReliableReceiver("BILLING", want: ["ORDER_PAID"])
///     for await batch in receiver.batches {
///         try await invoice(batch.events)
///         await batch.confirm()
///     }
///
/// One batch is out at a time. Confirm it when it has been processed; asking for the next one without that, or a crash,
/// makes its events come again.
public actor ReliableReceiver {
    nonisolated let loop: EventLoop
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private let engine: ReceiverEngine
    private let atEnd: AtEnd
    /// What happens, for logs and metrics. The newest 1000 are kept for a reader who falls behind.
    public nonisolated let signals: AsyncStream<ReceiverSignal>
    private nonisolated let continuation: AsyncStream<ReceiverSignal>.Continuation

    /// - Parameters:
    ///   - component: 1 to 16 of `A`-`Z`, `a`-`z`, `0`-`9` and `_`; not `LIVE`.
    ///   - configuration: how it connects, and what it wants.
    /// - Throws: `InvalidRequest` for a name that is none, an endpoint that is none, or keys of the environment that cannot be
    ///   used; `LiveNotAllowed` for `LIVE`.
    public init(
        _ component: String, _ configuration: ReceiverConfiguration = .init()
    ) throws(EventStreamError) {
        try self.init(component, configuration, loop: .clients)
    }

    /// - Parameter loop: the thread of the receiver.
    package init(
        _ component: String, _ configuration: ReceiverConfiguration = .init(), loop: EventLoop
    ) throws(EventStreamError) {
        let component = try ConsumerComponent.named(component)
        guard !component.isLive else { throw .liveNotAllowed("use a LiveReceiver") }
        let configuration = try configuration.resolved()
        self.loop = loop
        let (signals, continuation) = AsyncStream.makeStream(of: ReceiverSignal.self, bufferingPolicy: .bufferingNewest(1000))
        (self.signals, self.continuation) = (signals, continuation)
        let engine = ReceiverEngine(configuration, component: component.cut(configuration.slice), loop: loop) {
            continuation.yield($0)
        }
        self.engine = engine
        atEnd = AtEnd(of: engine, on: loop) { $0.finish() }
    }

    /// Wants only some types; the endpoint is as in ``ReceiverConfiguration/endpoints``.
    public init(_ component: String, endpoint: String? = nil, want: [String]?) throws(EventStreamError) {
        let endpoints = endpoint.map { [$0] } ?? []
        try self.init(component, ReceiverConfiguration(endpoints: endpoints, want: try EventFilter(types: want)))
    }

    /// Connects and begins to receive; reconnects until ``stop()``. Starting twice does nothing.
    public func start() throws(EventStreamError) { try engine.start() }

    /// Ends the session at the pusher and the sequence of batches.
    public func stop() async { await stop(within: .seconds(2)) }

    /// - Parameter timeout: how long a batch that is out may take to be reported.
    package func stop(within timeout: Duration) async {
        await withCheckedContinuation { continuation in engine.stop(within: timeout) { continuation.resume() } }
        continuation.finish()
    }

    /// The batches, in order; starts the receiver. For one reader.
    public nonisolated var batches: EventBatches { EventBatches(receiver: self) }

    /// Handler style, event by event: confirms what the handler returns from. An event it throws on comes again after a pause, and
    /// what follows comes after it.
    ///
    /// Returns when the receiver is stopped or the task is cancelled.
    public nonisolated func forEach(_ handler: (Event) async throws -> Void) async throws(EventStreamError) {
        try await start()
        batches: for await batch in batches {
            for event in batch.events {
                do {
                    try await handler(event)
                } catch {
                    await batch.reject(event, because: "\(error)")
                    continue batches
                }
            }
            await batch.confirm()
        }
    }

    /// Handler style: confirms every batch the handler returns from; one it throws on comes again as a whole.
    ///
    /// Returns when the receiver is stopped or the task is cancelled.
    public nonisolated func run(_ handler: (EventBatch) async throws -> Void) async throws(EventStreamError) {
        try await start()
        for await batch in batches {
            do {
                try await handler(batch)
                await batch.confirm()
            } catch {
                await batch.reject(because: "\(error)")
            }
        }
    }

    func next() async -> EventBatch? {
        guard engine.startOrReport() else { return nil }
        // The origin and the session as they are when the batch goes out: an answer that comes meanwhile may tell of others.
        let batch: (ReceiverProgress.Batch, StreamOrigin?, Int?)? = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                engine.next { [engine] batch in
                    continuation.resume(returning: batch.map { ($0, engine.batches.origin, engine.session) })
                }
            }
        } onCancel: {
            Task { await self.stop() }
        }
        handedOut += 1
        confirmed = 0
        handedOutIn = batch?.2
        return batch.map {
            EventBatch(events: $0.0.events, isParked: $0.0.isParked, origin: $0.1, number: handedOut, receiver: self)
        }
    }

    /// The number of the batch that is out; a report about any other comes too late.
    private var handedOut = 0

    /// The session that batch came in.
    private var handedOutIn: Int?

    /// Events of the batch that is out which have been confirmed one by one.
    private var confirmed = 0

    func succeeded(_ batch: EventBatch) {
        guard batch.number == handedOut else { return }
        engine.batches.succeeded(batch.events.count - confirmed)
    }

    func succeeded(_ batch: EventBatch, through event: Event) {
        guard batch.number == handedOut, let index = batch.events.firstIndex(where: { $0.id == event.id }), index >= confirmed
        else { return }
        let count = index + 1 - confirmed
        confirmed += count
        guard confirmed < batch.events.count else { return engine.batches.succeeded(count) }
        engine.batches.succeeded(through: event.id, count)
    }

    func failed(_ batch: EventBatch, at event: Event, _ reason: String) {
        guard batch.number == handedOut, let index = batch.events.firstIndex(where: { $0.id == event.id }), index >= confirmed
        else { return }
        engine.batches.stopped(at: event.id, .internalError(reason), processed: index - confirmed)
    }

    /// Gives the connection up and goes on with the next endpoint.
    package func moveOn(because reason: String) { engine.moveOn(because: reason) }

    /// The number of the present session, another one for each; nil while there is none.
    package var session: Int? { engine.session }

    /// Tells the pusher that the session's events go into an archive.
    ///
    /// - Parameters:
    ///   - known: the token that was found there; nil for none.
    ///   - token: the one that will be written there.
    /// - Returns: what the active database says; nil by an older pusher.
    /// - Throws: `ArchiveUnknown` if the active database has not given that one out.
    package func archive(
        known: String?, token: String, timeout: Duration = .seconds(15)
    ) async throws(EventStreamError) -> ArchiveAdmission? {
        try await engine.archive(known: known, token: token, timeout: timeout)
    }

    /// How far the consumer is behind, as the pusher counts it.
    ///
    /// - Throws: `NotRegistered`, `NotImplemented` by an older pusher, and what any call may throw.
    public func lag(timeout: Duration = .seconds(10)) async throws(EventStreamError) -> ConsumerLag {
        try await engine.lag(timeout: timeout)
    }

    /// Whether a batch is of the generation the stream is in.
    func isPresent(_ batch: EventBatch) -> Bool { engine.batches.origin?.generation == batch.origin?.generation }

    /// Whether a batch is out, in the session it came in.
    func isCurrent(_ batch: EventBatch) -> Bool {
        batch.number == handedOut && engine.session != nil && engine.session == handedOutIn && isPresent(batch)
    }

    func failed(_ batch: EventBatch, _ reason: String) {
        guard batch.number == handedOut else { return }
        // What was confirmed must not come again.
        guard confirmed == 0 else { return failed(batch, at: batch.events[confirmed], reason) }
        engine.batches.failed(.internalError(reason))
    }
}
