import EventStream
import LibZMQ
import Logging
import PosixLoop

/// Looks at what libzmq has received and not handed over, and cuts who has too much there.
final class BacklogWatch {
    private static let limit = 64 << 20
    private let loop: EventLoop
    private let logger: Logger
    private var backlog = InboundBacklog(limit: BacklogWatch.limit)
    private var isDrained = true
    private var timer: (timer: Timer, due: MonotonicTime)?
    private var peerLog = PeerLog()

    init(loop: EventLoop, logger: Logger) {
        self.loop = loop
        self.logger = logger
    }

    func connected(_ connection: Int32) {
        backlog.connected(connection, at: .now)
        look(within: .milliseconds(50))
    }

    func disconnected(_ connection: Int32) { backlog.disconnected(connection) }

    /// A message was handed over, of so many bytes on the wire.
    func took(_ bytes: Int, from connection: Int32) {
        backlog.took(bytes, from: connection)
        isDrained = false
        if !backlog.isEmpty { look(within: .milliseconds(50)) }
    }

    /// Nothing is left to be handed over.
    func drained() { isDrained = true }

    func stop() {
        timer?.timer.cancel()
        timer = nil
    }

    /// Also while nothing comes: something may be on its way that never ends.
    private func look(within delay: Duration) {
        let due = MonotonicTime.now + delay
        if let timer, timer.due <= due { return }
        timer?.timer.cancel()
        let next = loop.schedule(after: delay) { [weak self] in
            guard let self else { return }
            self.timer = nil
            let excess = self.backlog.look(at: .now, isDrained: self.isDrained) { PeerConnection($0).receivedBytes }
            for connection in excess {
                if let line = self.peerLog.line("sends too much", of: .unknown) {
                    self.logger.notice("a peer that sends more than can be taken was disconnected", metadata: line.metadata())
                }
                PeerConnection(connection).cut()
                self.backlog.disconnected(connection)
            }
            if !self.backlog.isEmpty { self.look(within: self.isDrained ? .milliseconds(100) : .milliseconds(50)) }
        }
        timer = (next, due)
    }
}
