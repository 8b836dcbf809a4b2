import EventLoop

/// Calls that wait a moment for the database instead of failing at once: while a process starts, or reconnects.
struct HeldCalls {
    /// How long a call waits, and how many do at most.
    static let patience = Duration.seconds(2)
    static let limit = 1000

    private var calls: [() -> Void] = []
    private var timer: Timer?

    var isFull: Bool { calls.count >= HeldCalls.limit }

    /// - Parameters:
    ///   - call: carries the call out, or answers that it cannot be.
    ///   - expire: called once, when the patience is over.
    mutating func hold(_ call: @escaping () -> Void, on loop: EventLoop, expire: @escaping () -> Void) {
        calls.append(call)
        if timer == nil { timer = loop.schedule(after: HeldCalls.patience, expire) }
    }

    mutating func takeAll() -> [() -> Void] {
        timer?.cancel()
        timer = nil
        defer { calls = [] }
        return calls
    }
}
