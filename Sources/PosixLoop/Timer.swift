import HeapModule

/// A point on a clock that never jumps: wall-clock steps do not move timeouts and leases.
package typealias MonotonicInstant = ContinuousClock.Instant

/// A pending call on an ``EventLoop``. Belongs to the loop's thread.
package final class Timer {
    let deadline: MonotonicInstant
    private var handler: (() -> Void)?

    init(deadline: MonotonicInstant, handler: @escaping () -> Void) {
        self.deadline = deadline
        self.handler = handler
    }

    /// The handler will not be called. Cancelling after the call, or twice, does nothing.
    package func cancel() { handler = nil }

    var isCancelled: Bool { handler == nil }

    func fire() {
        let handler = handler
        self.handler = nil
        handler?()
    }
}

struct TimerQueue {
    private struct Entry: Comparable {
        let timer: Timer
        let order: UInt64
        static func < (a: Entry, b: Entry) -> Bool {
            (a.timer.deadline, a.order) < (b.timer.deadline, b.order)
        }
        static func == (a: Entry, b: Entry) -> Bool { a.order == b.order }
    }

    private var heap = Heap<Entry>()
    private var inserted: UInt64 = 0
    private var sweepAt = 64

    var nextDeadline: MonotonicInstant? { heap.min?.timer.deadline }

    mutating func insert(_ timer: Timer) {
        // Most timers are cancelled long before they are due; they must not pile up until then.
        if heap.count >= sweepAt {
            heap = Heap(heap.unordered.filter { !$0.timer.isCancelled })
            sweepAt = max(64, heap.count * 2)
        }
        inserted += 1
        heap.insert(Entry(timer: timer, order: inserted))
    }

    /// Takes out the earliest timer that is due.
    mutating func popDue(at now: MonotonicInstant) -> Timer? {
        guard let next = heap.min, next.timer.deadline <= now else { return nil }
        return heap.removeMin().timer
    }
}
