import EventStream
import LibZMQ
import PosixLoop

/// A plain subscriber of the broadcast.
struct Subscriber: Listener {
    let endpoints: [String]
    let prefix: String

    func listen(_ recording: Recording) async throws {
        let home = LoopActor()
        defer { home.loop.stop() }
        try await home.run { loop in
            // Without a limit on this side, whatever is missing was dropped on the other.
            let socket = try Socket(
                .sub, in: Context(), options: [.receiveHighWaterMark(0), .subscribe(Array(prefix.utf8))])
            let source = SocketSource(socket) { message in
                guard message.frames.count == 2, let event = try? Event(decoding: RawJSON(validating: message.frames[1])) else {
                    return print("  the broadcast sent something that is no event")
                }
                recording.got([event])
            }
            // Of several pushers one: each broadcasts everything.
            try socket.connect(endpoints[0])
            loop.add(source)
            defer { loop.remove(source) }
            try await Task.sleep(for: .seconds(1 << 30))
        }
    }
}
