import EventStream
import LibZMQ
import PosixLoop

/// What a server asks of a client, and how the connection fares.
protocol CallChannelDelegate: AnyObject {
    /// The pusher calls us with events.
    func received(_ call: OnEvents)
    /// The server calls us in some other way.
    func called(_ request: WireMessage.Request)
    func connected()
    /// The connection was lost; a new one is being made.
    func disconnected()
}

/// Calls to a server with their answers, and the server's calls to us.
///
/// Belongs to the loop's thread. When the connection is lost every call under way fails; nothing is sent twice.
final class CallChannel {
    private struct Pending {
        let completion: (Result<RawJSON, EventStreamError>) -> Void
        let timer: Timer
        /// Bytes of the request.
        let size: Int
        var isSent: Bool
    }

    private let loop: EventLoop
    private let connection: ServerConnection
    private var pending: [UInt64: Pending] = [:]
    private var outgoing: [(rid: UInt64?, payload: [UInt8])] = []
    private var lastRid: UInt64 = 0
    private var flushTimer: Timer?
    weak var delegate: (any CallChannelDelegate)?

    /// - Parameters:
    ///   - endpoints: where the server is, one or several alternatives; not empty.
    ///   - keys: nil for a server without keys.
    ///   - timeout: a server not heard of for two thirds of it is given up.
    init(_ endpoints: [String], keys: ClientKeys?, timeout: Duration = standardSessionTimeout, loop: EventLoop) {
        self.loop = loop
        connection = ServerConnection(endpoints, keys: keys, timeout: timeout, loop: loop)
        connection.delegate = self
    }

    var isConnected: Bool { connection.isConnected }

    /// Why there is no connection, as far as can be told.
    var absence: String { connection.absence }

    /// Connects, in the background.
    func open() throws(EventStreamError) { try connection.open() }

    /// Opens after a pause, and tries again until it succeeds.
    func openLater() { connection.openLater() }

    /// Gives the connection up and begins a new one, to the next endpoint.
    func reset(because reason: String) { connection.reset(because: reason) }

    /// Closes for good; calls under way fail, and later ones at once.
    func close() {
        connection.close()
        failAll("the client was closed")
    }

    private func failAll(_ reason: String) {
        let failed = pending
        (pending, outgoing) = ([:], [])
        for (_, call) in failed.sorted(by: { $0.key < $1.key }) {
            call.timer.cancel()
            let known = call.isSent ? "it is not known whether the call was carried out" : "the call was not sent"
            call.completion(.failure(.communicationError("\(reason); \(known)")))
        }
    }

    // MARK: Calls

    func call(
        _ call: Call, timeout: Duration, completion: @escaping (Result<RawJSON, EventStreamError>) -> Void
    ) {
        guard !connection.isClosed else {
            return completion(.failure(.communicationError("the client was closed; the call was not sent")))
        }
        lastRid += 1
        let rid = lastRid
        let payload = call.request(rid: .client(rid)).encoded()
        let timer = loop.schedule(after: timeout) { [weak self] in
            guard let self else { return }
            guard let late = self.pending.removeValue(forKey: rid) else { return }
            self.outgoing.removeAll { $0.rid == rid }
            let known = late.isSent ? "it is not known whether the call was carried out" : self.absence
            late.completion(.failure(.timeout("no answer within \(timeout); \(known)")))
        }
        pending[rid] = Pending(completion: completion, timer: timer, size: payload.count, isSent: false)
        outgoing.append((rid, payload))
        flush()
    }

    func call(_ call: Call, timeout: Duration) async throws(EventStreamError) -> RawJSON {
        let result: Result<RawJSON, EventStreamError> = await withCheckedContinuation { continuation in
            self.call(call, timeout: timeout) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Answers a call of the server's.
    func answer(_ rid: RequestID?, _ outcome: Result<RawJSON, EventStreamError>) {
        guard isConnected else { return }
        outgoing.append((nil, WireMessage.Response(outcome: outcome, rid: rid).encoded()))
        flush()
    }

    private func flush() {
        guard isConnected else { return }
        var sent = 0
        for message in outgoing {
            guard connection.send(message.payload) else { break }
            if let rid = message.rid { pending[rid]?.isSent = true }
            sent += 1
        }
        outgoing.removeFirst(sent)
        guard !outgoing.isEmpty, flushTimer == nil else { return }
        flushTimer = loop.schedule(after: .milliseconds(2)) { [weak self] in
            guard let self else { return }
            self.flushTimer = nil
            self.flush()
        }
    }
}

extension CallChannel: ServerConnectionDelegate {
    func connected() {
        flush()
        delegate?.connected()
    }

    func disconnected(because reason: String) {
        failAll(reason)
        delegate?.disconnected()
    }

    func received(_ message: Message) {
        guard let payload = message.frames.last else { return }
        if let call = OnEvents(frame: payload) {
            delegate?.received(call)
            return
        }
        guard let decoded = try? WireMessage(decoding: payload) else { return }
        switch decoded {
        case .request(let request): delegate?.called(request)
        case .response(let response):
            let number = response.rid == nil ? unread(response.outcome) : response.rid?.number
            guard let number, let call = pending.removeValue(forKey: number) else { return }
            call.timer.cancel()
            call.completion(response.outcome)
        }
    }

    /// Which call an answer without a number is to: the server did not read it, since it is too long. Those that are too long
    /// are longer than all others, so it is the longest; of several as long, the oldest.
    private func unread(_ outcome: Result<RawJSON, EventStreamError>) -> UInt64? {
        guard case .failure = outcome else { return nil }
        return pending.filter(\.value.isSent).max { ($0.value.size, $1.key) < ($1.value.size, $0.key) }?.key
    }
}
