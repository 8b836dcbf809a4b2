/// Calls that wait a moment for the database instead of failing at once: while a process starts, or reconnects.
package struct DatabaseWait {
    /// How long a call waits at most for the database before the call fails.
    package static let timeout = Duration.seconds(2)
    /// How many calls wait at most: of all accounts, and of one.
    package static let limit = 1000
    package static let accountLimit = 250

    private var calls: [() -> Void] = []
    private var counts: [Account: Int] = [:]
    private var timer: (any ScheduledCall)?

    package init() {}

    package func hasRoom(for account: Account) -> Bool {
        let held = counts[account] ?? 0
        return held < DatabaseWait.accountLimit && (calls.count < DatabaseWait.limit || held == 0)
    }

    /// - Parameters:
    ///   - call: carries the call out, or answers that it cannot be.
    ///   - expire: called once, when the timeout is over.
    package mutating func hold(
        _ call: @escaping () -> Void, of account: Account, on loop: any LoopPort, expire: @escaping () -> Void
    ) {
        calls.append(call)
        counts[account, default: 0] += 1
        if timer == nil { timer = loop.after(DatabaseWait.timeout, expire) }
    }

    package mutating func takeAll() -> [() -> Void] {
        timer?.cancel()
        timer = nil
        defer { (calls, counts) = ([], [:]) }
        return calls
    }
}
