/// Decides what may be discarded, in bounded steps.
public struct DiscardPlan: Sendable {
    public enum Step: Hashable, Sendable {
        /// Delete at most so many events of one segment, up to and including this id.
        case delete(segment: Int, through: EventID, limit: Int)
        /// Nothing more until the next period.
        case done
    }

    /// Events one step deletes at most; at least 1.
    public let limit: Int

    public init(limit: Int) { self.limit = max(1, limit) }

    /// - Parameters:
    ///   - confirmed: what the slowest registered consumer has confirmed; nil if none is registered: then nothing is
    ///     discarded at all.
    ///   - lowest: the oldest event there is.
    public func next(confirmed: EventID?, lowest: EventID?) -> Step {
        guard let confirmed, let lowest, lowest <= confirmed else { return .done }
        // A segment holds runs of 2^17 ids; within the run of the oldest event all is older than what comes after it.
        let lastOfRun = EventID(lowest.rawValue | (1 << Int64(StreamTables.segmentBits) - 1))
        return .delete(
            segment: StreamTables.segmentIndex(of: lowest), through: min(confirmed, lastOfRun), limit: limit)
    }
}
