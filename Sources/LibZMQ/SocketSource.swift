import PosixLoop

/// Lets an ``EventLoop`` serve a socket: calls the handler with each message received.
package final class SocketSource: PollSource {
    package let socket: Socket
    package let descriptor: Int32
    private let perTurn: Int
    private let handler: (Message) -> Void
    private let drained: () -> Void

    /// - Parameters:
    ///   - perTurn: messages taken before others get their turn; at least 1.
    ///   - drained: called when nothing is left.
    package init(
        _ socket: Socket, perTurn: Int = 64, handler: @escaping (Message) -> Void, drained: @escaping () -> Void = {}
    ) {
        self.socket = socket
        self.perTurn = perTurn
        self.handler = handler
        self.drained = drained
        descriptor = socket.descriptor
    }

    package func descriptorFired() { socket.descriptorFired() }
    package func isReady() -> Bool { socket.isReadable() }

    package func dispatch() {
        for _ in 0..<perTurn {
            guard let message = try? socket.receive() else { return drained() }
            handler(message)
        }
    }
}
