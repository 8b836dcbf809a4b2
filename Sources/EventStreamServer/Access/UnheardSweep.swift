import LibZMQ
import PosixLoop

/// Cuts connections nothing was heard of, after a routing id has become free.
///
/// Who wanted the routing id meanwhile was ignored, and libzmq ignores that peer for ever (`router.cpp`, "Ignore peers with
/// duplicate ID"): the peer is among those not heard of, so they have to connect again. Those who are merely slow have a while
/// to say something.
final class UnheardSweep {
    /// Connections nothing was heard of yet, each with a number that tells a descriptor's uses apart.
    typealias Unheard = [Int32: UInt64]

    private let loop: EventLoop
    private let present: () -> Unheard
    private var marked: Unheard = [:]
    private var isNeededAgain = false
    private var timer: Timer?

    /// - Parameter present: tells those that are there now.
    init(_ loop: EventLoop, present: @escaping () -> Unheard) { (self.loop, self.present) = (loop, present) }

    func begin(with unheard: Unheard) {
        marked.merge(unheard) { $1 }
        isNeededAgain = true
        if timer == nil { sweepLater() }
    }

    func stop() { timer?.cancel() }

    private func sweepLater() {
        timer = loop.schedule(after: .seconds(2)) { [weak self] in
            guard let self else { return }
            self.timer = nil
            let present = self.present()
            for (connection, number) in self.marked where present[connection] == number { PeerConnection(connection).cut() }
            // libzmq tells of the end of a connection before it forgets its routing id: who came in between was ignored, too.
            self.marked = self.isNeededAgain ? present.filter { self.marked[$0.key] != $0.value } : [:]
            self.isNeededAgain = false
            if !self.marked.isEmpty { self.sweepLater() }
        }
    }
}
