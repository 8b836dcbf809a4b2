import EventStream
import EventStreamServer
import LibZMQ
import Logging
import PosixLoop
import Synchronization

/// Cuts subscribers that send much more than subscriptions have.
///
/// libzmq takes in all a subscriber sends before it lets go of the thread that asks for it, so it is on a thread of its own that
/// somebody has to see to it that there is an end. A peer is known before it can send: it is admitted on the other thread.
final class SubscriptionWatch: Sendable {
    /// Bytes a subscriber may send at first, and in a second.
    private static let (first, each) = (65_536, 1024)

    private struct State {
        var connections: [Int32: MonotonicTime] = [:]
        var isLooking = false
        var peerLog = PeerLog()
    }

    private let state = Mutex(State())
    private let home = LoopActor()
    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    func connected(_ connection: Int32) {
        let mustBegin = state.withLock { state in
            state.connections[connection] = .now
            defer { state.isLooking = true }
            return !state.isLooking
        }
        if mustBegin { home.loop.execute { [weak self] in self?.look() } }
    }

    func disconnected(_ connection: Int32) { _ = state.withLock { $0.connections.removeValue(forKey: connection) } }

    func stop() {
        state.withLock { $0.connections = [:] }
        home.loop.stop()
    }

    private func look() {
        let present = state.withLock { state in
            state.isLooking = !state.connections.isEmpty
            return state.connections
        }
        for (number, since) in present {
            let connection = PeerConnection(number)
            let allowed = SubscriptionWatch.first + Int((.now - since) / .seconds(1)) * SubscriptionWatch.each
            guard let bytes = connection.receivedBytes, bytes > allowed else { continue }
            connection.cut()
            guard let line = state.withLock({ $0.peerLog.line("sends too much", of: .unknown) }) else { continue }
            logger.notice(
                "a live subscriber was disconnected",
                metadata: line.metadata([.reason: "it sent much more than subscriptions have"]))
        }
        guard !present.isEmpty else { return }
        home.loop.schedule(after: .milliseconds(100)) { [weak self] in self?.look() }
    }
}
