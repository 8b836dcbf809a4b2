import EventStream
import EventStreamServer

/// Calls that ask something of the database take turns: of a user a few are worked on at a time, of a connection without keys one.
/// Others do not wait for all of whoever makes many.
final class CallTurns {
    private let loop: any LoopPort
    private var queue = CallTurns.empty
    private var isStopped = false

    private static var empty: TurnQueue<Account, () -> Void> { .init(ownerLimit: 1000, limit: 10_000) }

    init(loop: any LoopPort) { self.loop = loop }

    /// Does the work at once, or when it is the peer's turn; ``ended(_:)`` is to be called when it is done.
    func inTurn(_ peer: Peer, _ work: @escaping () -> Void) throws(EventStreamError) {
        let isUser = if case .user = peer.account { true } else { false }
        switch queue.add(work, of: peer.account, atOnce: isUser ? 4 : 1) {
        case .begins: work()
        case .waits: break
        case .refused: throw .defenseRejected("too many calls are under way; wait for the answers")
        }
    }

    func ended(_ peer: Peer) {
        // Not at once: answers that need nothing of the database would pile up on the stack.
        guard let next = queue.ended(of: peer.account) else { return }
        loop.soon { if !self.isStopped { next() } }
    }

    /// Whoever waits for a turn gets no answer any more.
    func stop() {
        isStopped = true
        queue = CallTurns.empty
    }
}
