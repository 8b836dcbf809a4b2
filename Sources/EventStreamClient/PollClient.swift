public import EventStream
import LibZMQ
package import PosixLoop

/// Asks an evt-pusher for events now and then (`futoin.evt.poll`): the simple way to consume a stream.
///
///     let client = try await PollClient(["tcp://127.0.0.1:5571"])
///     try await client.registerConsumer("REPORTS")
///     var last: EventID?
///     while true {
///         let events = try await client.pollEvents("REPORTS", after: last)
///         …                       // process them, then confirm them with the next call
///         last = events.last?.id ?? last
///     }
public actor PollClient {
    /// Where the standard pusher listens.
    public static let standardEndpoint = StandardEndpoint.pusher

    private nonisolated let loop: EventLoop
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private let channel: CallChannel
    private let atEnd: AtEnd
    private let timeout: Duration

    /// - Parameters:
    ///   - endpoints: the pusher's endpoint, or several alternatives. None: those of the environment variable
    ///     `EVT_PUSHER_CONNECT`, separated by commas; where it is not set, the standard one.
    ///   - keys: for a pusher that has keys. Nil, and no endpoints: those of `EVT_CURVE_KEY` and `EVT_SERVER_KEY`, if set.
    ///   - timeout: how long an answer may take.
    /// - Throws: `InvalidRequest` for an endpoint that is none, or keys of the environment that cannot be used; `InternalError` if
    ///   there is no socket to be had.
    public init(
        _ endpoints: [String] = [], keys: ClientKeys? = nil, timeout: Duration = .seconds(30)
    ) async throws(EventStreamError) {
        try await self.init(endpoints, keys: keys, timeout: timeout, loop: .clients)
    }

    /// - Parameter loop: the thread of the client.
    package init(
        _ endpoints: [String] = [], keys: ClientKeys? = nil, timeout: Duration = .seconds(30), loop: EventLoop
    ) async throws(EventStreamError) {
        let destination = try Destination(endpoints, keys: keys, of: .pusher)
        self.loop = loop
        self.timeout = timeout
        let channel = CallChannel(destination.endpoints, keys: destination.keys, loop: loop)
        self.channel = channel
        atEnd = AtEnd(of: channel, on: loop) { $0.close() }
        try channel.open()
    }

    /// Registers a consumer; doing it again changes nothing, whatever the start.
    ///
    /// - Parameters:
    ///   - component: its name.
    ///   - start: where a new consumer begins; nil for the oldest event that is not discarded. From there on it gets every event.
    /// - Throws: `HistoryUnavailable` if the pusher cannot read that far back, and what any call may throw.
    public func registerConsumer(_ component: String, start: StartPosition? = nil) async throws(EventStreamError) {
        _ = try await channel.call(.registerConsumer(try .named(component), start: start), timeout: timeout)
    }

    /// The events that follow.
    ///
    /// - Parameters:
    ///   - component: a registered consumer, or `LIVE`, which is not registered and stores nothing.
    ///   - last: confirms this event and all before it. Nil, or `EventID.none`, confirms nothing.
    ///   - want: only these types; nil for all.
    ///   - precise: whether timestamps have microseconds.
    ///   - fields: what the events are to have besides; a pusher that is too old for `EventFields.key` and `EventFields.meta`
    ///     refuses the call.
    ///   - generation: which generation of the stream `last` is of (`StreamOrigin`); one that is over is an error. Nil for the
    ///     present one.
    /// - Throws: `NotRegistered`, and what any call may throw.
    public func pollEvents(
        _ component: String, after last: EventID?, want: [String]? = nil, precise: Bool = false, fields: EventFields = [],
        generation: String? = nil
    ) async throws(EventStreamError) -> [Event] {
        let call = Call.pollEvents(
            try .named(component), after: last == EventID.none ? nil : last, want: try EventFilter(types: want),
            fields: precise ? fields.union(.microseconds) : fields, generation: generation)
        return try Event.list(decoding: try await channel.call(call, timeout: timeout))
    }

    /// Asks the server for a sign of life.
    public func ping() async throws(EventStreamError) { _ = try await channel.call(.ping(echo: RawJSON("1")), timeout: timeout) }

    /// Closes the connection for good. Calls under way fail, and later ones at once.
    public func close() { channel.close() }
}

extension ConsumerComponent {
    static func named(_ name: String) throws(EventStreamError) -> ConsumerComponent {
        guard let component = ConsumerComponent(name) else {
            throw .invalidRequest("a component is 1 to 16 of A-Z, a-z, 0-9 and _, not \(name.prefix(40))")
        }
        return component
    }
}

extension EventFilter {
    /// - Parameter types: event types, and prefixes that end in `*` (`ORDER_*`); nil for all.
    /// - Throws: `InvalidRequest` for an empty list or something that is no event type.
    public init(types: [String]?) throws(EventStreamError) {
        guard let types else {
            self = .all
            return
        }
        guard !types.isEmpty else { throw .invalidRequest("a list of wanted types must not be empty") }
        guard let filter = EventFilter(entries: types) else {
            let name = types.first { EventFilter(entries: [$0]) == nil } ?? ""
            throw .invalidRequest("\(name.prefix(40)) is no event type: \(EventFilter.rule)")
        }
        self = filter
    }
}
