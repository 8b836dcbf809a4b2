import EventStream
import LibZMQ
import PosixLoop

/// A live session as the protocol has it, without the client library: `seq` tells where groups were dropped.
struct WireListener: Listener {
    let endpoints: [String]

    func listen(_ recording: Recording) async throws {
        let home = LoopActor()
        defer { home.loop.stop() }
        try await home.run { loop in
            let socket = try Socket(.dealer, in: Context(), options: [.immediate(true)])
            let session = WireSession(socket, recording)
            let source = SocketSource(socket) { session.received($0) }
            try socket.connect(endpoints[0])
            loop.add(source)
            defer { loop.remove(source) }
            while true {
                // The same again keeps the session alive (protocol, section 5).
                let sent = session.send(Call.readyToReceive(.live, want: .all, fields: []).request(rid: nil).encoded())
                try await Task.sleep(for: sent ? .seconds(3) : .milliseconds(20))
            }
        }
    }
}

private final class WireSession {
    private let socket: Socket
    private let recording: Recording
    private var next: UInt64 = 0

    init(_ socket: Socket, _ recording: Recording) { (self.socket, self.recording) = (socket, recording) }

    /// - Returns: false while there is no connection.
    @discardableResult
    func send(_ payload: [UInt8]) -> Bool { (try? socket.send([payload])) == .sent }

    func received(_ message: Message) {
        do {
            guard case .request(let request) = try WireMessage(decoding: message.frames.last ?? []) else { return }
            let call = try OnEvents(request)
            // Number 0 once more is a new session, which has nothing to do with what was before.
            recording.got(call.events, skipped: call.sequence != next)
            next = call.sequence + 1
            send(WireMessage.Response(outcome: .success(.true), rid: request.rid).encoded())
        } catch {
            print("  LIVE, wire: \(error)")
        }
    }
}
