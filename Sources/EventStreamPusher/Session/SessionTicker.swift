import EventStream
import EventStreamServer

/// Looks after leases, overdue answers and pauses, while there are sessions.
final class SessionTicker {
    private let loop: any LoopPort
    private let table: SessionTable
    private let longest: Duration
    private var timer: (call: any ScheduledCall, due: MonotonicTime)?
    /// Looks after the sessions.
    var onTick: (MonotonicTime) -> Void = { _ in }

    /// - Parameter longest: sessions are looked after at least this often.
    init(_ table: SessionTable, loop: any LoopPort, longest: Duration) {
        self.table = table
        self.loop = loop
        self.longest = longest
    }

    /// - Parameter delay: the next look is not later.
    func keepTime(within delay: Duration? = nil) {
        guard table.count > 0 else { return }
        let due = loop.now + max(.milliseconds(20), min(delay ?? longest, longest))
        if let timer, timer.due <= due { return }
        timer?.call.cancel()
        let call = loop.after(due - loop.now) { [weak self] in
            guard let self else { return }
            self.timer = nil
            self.onTick(self.loop.now)
            self.keepTime(within: self.nextDeadline.map { $0 - self.loop.now })
        }
        timer = (call, due)
    }

    private var nextDeadline: MonotonicTime? {
        let reliable = table.reliable.lazy.compactMap(\.machine.nextDeadline).min()
        let live = table.live.lazy.compactMap(\.delivery.nextDeadline).min()
        return [reliable, live].compactMap(\.self).min()
    }
}
