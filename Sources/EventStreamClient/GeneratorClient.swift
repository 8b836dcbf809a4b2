public import EventStream
import FoundationEssentials
import LibZMQ
package import PosixLoop

/// Records events through an evt-generator (`futoin.evt.gen`), for those without a database of their own.
///
///     let generator = try await GeneratorClient(["tcp://127.0.0.1:5570"])
///     let id = try await generator.addEvent("USR_LOGIN", ["user": 17])
///
/// Calls may be made without waiting for each other; events get their ids in the order of the calls.
public actor GeneratorClient {
    /// Where the standard generator listens.
    public static let standardEndpoint = StandardEndpoint.generator

    private nonisolated let loop: EventLoop
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private let channel: CallChannel
    private let atEnd: AtEnd
    private let timeout: Duration

    /// - Parameters:
    ///   - endpoints: the generator's endpoint, or several alternatives. None: those of the environment variable
    ///     `EVT_GENERATOR_CONNECT`, separated by commas; where it is not set, the standard one.
    ///   - keys: for a generator that has keys. Nil, and no endpoints: those of `EVT_CURVE_KEY` and `EVT_SERVER_KEY`, if set.
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
        let destination = try Destination(endpoints, keys: keys, of: .generator)
        self.loop = loop
        self.timeout = timeout
        let channel = CallChannel(destination.endpoints, keys: destination.keys, loop: loop)
        self.channel = channel
        atEnd = AtEnd(of: channel, on: loop) { $0.close() }
        try channel.open()
    }

    /// Records an event. An id that is returned is durable.
    ///
    /// - Parameters:
    ///   - type: 1 to 16 of `A`-`Z` and `_`.
    ///   - data: any JSON value; travels as it is, byte for byte.
    ///   - key: what the event is about, 1 to 128 bytes.
    ///   - meta: a JSON object of at most 4096 bytes that tells how the event came about; travels as it is.
    ///   - idempotencyKey: 1 to 200 bytes. A repeated call with the same one returns the first id and records nothing.
    /// - Throws: `InvalidRequest` if it can never be recorded; `IdempotencyConflict` if the idempotency key was used for another
    ///   event; `InternalError`, `CommError` or `Timeout` otherwise, with a text that says if the outcome is unknown (protocol,
    ///   section 4).
    public func addEvent(
        _ type: String, _ data: RawJSON, key: String? = nil, meta: RawJSON? = nil, idempotencyKey: String? = nil
    ) async throws(EventStreamError) -> EventID {
        guard let type = EventType(type) else {
            throw .invalidRequest("invalid event type: \(type.prefix(40)); \(EventFilter.typeRule)")
        }
        let draft = EventDraft(type: type, data: data, key: key, meta: meta, idempotencyKey: idempotencyKey)
        try draft.check()
        let result = try await channel.call(.addEvent(draft), timeout: timeout)
        guard let id = EventID(String(result.description.dropFirst().dropLast())) else {
            throw .internalError("the server answered \(result) instead of an event id")
        }
        return id
    }

    /// Records an event whose data is encoded with `JSONEncoder`.
    public func addEvent(
        _ type: String, _ data: some Encodable & Sendable, key: String? = nil, meta: RawJSON? = nil, idempotencyKey: String? = nil
    ) async throws -> EventID {
        try await addEvent(
            type, RawJSON(validating: JSONEncoder().encode(data)), key: key, meta: meta, idempotencyKey: idempotencyKey)
    }

    /// Asks the server for a sign of life.
    public func ping() async throws(EventStreamError) { _ = try await channel.call(.ping(echo: RawJSON("1")), timeout: timeout) }

    /// Closes the connection for good. Calls under way fail, and later ones at once.
    public func close() { channel.close() }
}

extension EventLoop {
    /// The thread that all clients of a process share unless told otherwise.
    package static let clients = EventLoop()
}
