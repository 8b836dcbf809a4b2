package import EventStream

/// Who asks for a consumer's session: one claim of a consumer is under way at a time, and a peer that asks again and again costs
/// the database no more than a few claims a second. Of what one peer asks meanwhile only the last counts.
package struct ClaimQueue<Consumer: Hashable, Start> {
    package enum Outcome: Hashable, Sendable {
        /// The claim may be made after this pause; ``ended(_:)`` is to be called when it is done.
        case begins(after: Duration)
        /// A claim of this consumer is under way; ``ended(_:)`` returns who waited for it.
        case waits
        /// Too many wait already.
        case refused
    }

    /// Claims of a consumer that need no pause, and how often there may be another.
    package static var burst: Int { 10 }
    package static var interval: Duration { .milliseconds(100) }
    /// Who may wait for one claim.
    package static var waitingLimit: Int { 100 }

    private struct Turn {
        /// When all claims so far are paid for.
        var paid: MonotonicTime
        /// Who has the claim that is under way.
        var current: Start?
        /// Whether nobody wants its outcome any more.
        var isWithdrawn = false
        var waiting: [Start] = []
    }

    private var turns: [Consumer: Turn] = [:]
    private var pruneAt = 1000

    package init() {}

    /// Consumers that are known.
    package var count: Int { turns.count }

    package func isUnderWay(_ consumer: Consumer) -> Bool { turns[consumer]?.current != nil }

    /// - Parameter replacing: what becomes of one that waits and the new one: one start that stands for both, or nil.
    package mutating func add(
        _ start: Start, of consumer: Consumer, at now: MonotonicTime, replacing merge: (Start, Start) -> Start?
    ) -> Outcome {
        prune(at: now)
        var turn = turns[consumer] ?? Turn(paid: now)
        defer { turns[consumer] = turn }
        guard turn.current != nil else {
            turn.current = start
            turn.paid = max(turn.paid, now) + ClaimQueue.interval
            return .begins(after: max(.zero, turn.paid - now - ClaimQueue.interval * ClaimQueue.burst))
        }
        for index in turn.waiting.indices {
            guard let merged = merge(turn.waiting[index], start) else { continue }
            turn.waiting[index] = merged
            return .waits
        }
        guard turn.waiting.count < ClaimQueue.waitingLimit else { return .refused }
        turn.waiting.append(start)
        return .waits
    }

    /// - Returns: who waited for the claim that is done now: they may need none any more.
    package mutating func ended(_ consumer: Consumer) -> [Start] {
        guard var turn = turns[consumer] else { return [] }
        defer { turns[consumer] = turn }
        let waiting = turn.waiting
        (turn.current, turn.isWithdrawn, turn.waiting) = (nil, false, [])
        return waiting
    }

    /// Some of those who ask want nothing any more. The claim that is under way goes on; its outcome is of no use then.
    ///
    /// - Returns: those who waited.
    package mutating func withdraw(_ consumer: Consumer, _ isMeant: (Start) -> Bool) -> [Start] {
        guard var turn = turns[consumer] else { return [] }
        defer { turns[consumer] = turn }
        if let current = turn.current, isMeant(current) { turn.isWithdrawn = true }
        let withdrawn = turn.waiting.filter(isMeant)
        turn.waiting.removeAll(where: isMeant)
        return withdrawn
    }

    package func isWithdrawn(_ consumer: Consumer) -> Bool { turns[consumer]?.isWithdrawn ?? false }

    /// Names that were asked for once must not stay for ever.
    private mutating func prune(at now: MonotonicTime) {
        guard turns.count >= pruneAt else { return }
        turns = turns.filter { $0.value.current != nil || now < $0.value.paid }
        pruneAt = max(1000, turns.count * 2)
    }
}
