package import EventStream

/// Decides how confirmed events leave the ring of segments.
///
/// A segment holds a run of 2^17 ids. One whose ids are all confirmed, and which is not being written, is emptied whole: that
/// costs next to nothing, and leaves no dead rows. Single rows are deleted where that takes too long: once a period, in the
/// segment being written at a low rate, where another run has begun among unconfirmed events, or where somebody reads the
/// segment and does not end.
package struct DiscardPlan: Sendable {
    /// What a look at the stream shows.
    package struct Stream: Hashable, Sendable {
        /// The newest event, or the last one discarded.
        package var newest: EventID
        /// Up to here no consumer holds events back, mostly what the slowest has confirmed; nil if none is registered, or none holds
        /// any: then nothing is discarded at all.
        package var confirmed: EventID?
        /// The oldest event there is.
        package var oldest: EventID?

        package init(newest: EventID, confirmed: EventID?, oldest: EventID?) {
            self.newest = newest
            self.confirmed = confirmed
            self.oldest = oldest
        }
    }

    package enum Step: Hashable, Sendable {
        /// Empty a segment, all of whose ids up to this one are confirmed.
        case empty(segment: Int, through: EventID)
        /// Delete at most so many events of one segment, from the oldest up to and including this id.
        case delete(segment: Int, from: EventID, through: EventID, limit: Int)
        /// Nothing before so much time has passed.
        case rest(Duration)
    }

    /// Why a segment could not be emptied.
    package enum Refusal: Hashable, Sendable {
        /// Somebody is reading it.
        case busy
        /// It holds events that are not confirmed, or the role may not empty tables.
        case impossible
    }

    private struct Refused {
        let run: Int64
        let since: MonotonicTime
        var attempts = 0
        var retryAt: MonotonicTime
        var isFinal = false
    }

    /// Events one step deletes at most; at least 1.
    package let limit: Int
    /// How often single events are deleted.
    package let period: Duration
    private var written = Pace()
    private var confirmed = Pace()
    /// Up to where the present round deletes; nil between rounds.
    private var round: EventID?
    private var nextRound: MonotonicTime?
    private var refused: Refused?

    package init(limit: Int, period: Duration) {
        self.limit = max(1, limit)
        self.period = period
    }

    package mutating func next(_ stream: Stream, now: MonotonicTime) -> Step {
        written.saw(stream.newest, now)
        if let confirmed = stream.confirmed { self.confirmed.saw(confirmed, now) }
        guard let confirmed = stream.confirmed, let oldest = stream.oldest, oldest <= confirmed else { return rest(stream, now) }
        let run = DiscardPlan.run(of: oldest)
        isBehind = DiscardPlan.run(of: confirmed) - run >= Int64(StreamTables.segmentCount) / 2
        if refused?.run != run { refused = nil }
        let end = EventID((run + 1) << Int64(StreamTables.segmentBits) - 1)
        let segment = StreamTables.segmentIndex(of: oldest)
        let isWritten = segment == StreamTables.segmentIndex(of: stream.newest)
        if end <= confirmed, !isWritten {
            guard let refused else { return .empty(segment: segment, through: end) }
            if !mustDelete(refused, run: run, stream, now) {
                return refused.retryAt <= now ? .empty(segment: segment, through: end) : rest(stream, now)
            }
        } else if run == DiscardPlan.run(of: stream.newest), confirmed >= stream.newest, written.isStill(now),
            confirmed.rawValue - oldest.rawValue >= Int64(limit) * 20, refused.map({ !$0.isFinal && $0.retryAt <= now }) ?? true
        {
            // Nobody is writing, and many rows would have to be deleted.
            return .empty(segment: segment, through: confirmed)
        } else if !isWritten || run == DiscardPlan.run(of: stream.newest), isCompleteSoon(end, stream) {
            return rest(stream, now)
        }
        if round == nil, nextRound.map({ $0 <= now }) ?? true {
            round = confirmed
            nextRound = now + period
        }
        guard let through = round, oldest <= through else { return rest(stream, now) }
        return .delete(segment: segment, from: oldest, through: min(through, end, confirmed), limit: limit)
    }

    /// Whether nothing has been recorded for a while.
    package func isStill(now: MonotonicTime) -> Bool { written.isStill(now) }

    /// Whether so many confirmed events are still there that deleting must not be gentle: half of the ring.
    package private(set) var isBehind = false

    /// The segment of the step just given could not be emptied.
    package mutating func refused(_ refusal: Refusal, through: EventID, now: MonotonicTime) {
        let run = DiscardPlan.run(of: through)
        var refused = refused ?? Refused(run: run, since: now, retryAt: now)
        refused.isFinal = refusal == .impossible
        // Whoever waits for the lock keeps readers waiting as well: rather seldom.
        refused.retryAt = now + min(.seconds(10), .milliseconds(100) * (1 << min(refused.attempts, 10)))
        refused.attempts += 1
        self.refused = refused
    }

    /// Somebody holds the segment for long, as a dump does; or the ring is about to come round.
    private func mustDelete(_ refused: Refused, run: Int64, _ stream: Stream, _ now: MonotonicTime) -> Bool {
        refused.isFinal || now - refused.since > max(period, .seconds(10))
            || DiscardPlan.run(of: stream.newest) - run >= Int64(StreamTables.segmentCount) - 2
    }

    /// At a high rate the segment is left to be emptied whole.
    private func isCompleteSoon(_ end: EventID, _ stream: Stream) -> Bool {
        let delay = max(period * 3, .seconds(5))
        return written.reaches(end.next, from: stream.newest, within: delay)
            && confirmed.reaches(end, from: stream.confirmed ?? .none, within: delay)
    }

    /// Segments are emptied soon after they are full: a look every second, more often where they fill faster.
    private mutating func rest(_ stream: Stream, _ now: MonotonicTime) -> Step {
        round = nil
        var pause = min(period, .seconds(1))
        if written.perSecond > 0 {
            let half = Double(1 << (StreamTables.segmentBits - 1)) / written.perSecond
            pause = min(pause, max(.milliseconds(50), .milliseconds(Int64(min(half, 1) * 1000))))
        }
        return .rest(pause)
    }

    private static func run(of id: EventID) -> Int64 { id.rawValue >> Int64(StreamTables.segmentBits) }
}

/// How fast an id moves on, over the last seconds.
private struct Pace: Sendable {
    private var last: (id: EventID, at: MonotonicTime)?
    private(set) var perSecond = 0.0
    private var movedAt: MonotonicTime?

    mutating func saw(_ id: EventID, _ now: MonotonicTime) {
        // Nobody writes several segments between two looks: ids have leapt.
        guard let last, id >= last.id, id.rawValue - last.id.rawValue < 4 << Int64(StreamTables.segmentBits) else {
            (last, perSecond, movedAt) = ((id, now), 0, now)
            return
        }
        if id > last.id { movedAt = now }
        let elapsed = (now - last.at) / .seconds(1)
        guard elapsed >= 0.02 else { return }
        let weight = elapsed / (elapsed + 2)
        perSecond += (Double(id.rawValue - last.id.rawValue) / elapsed - perSecond) * weight
        self.last = (id, now)
    }

    func isStill(_ now: MonotonicTime) -> Bool { movedAt.map { now - $0 >= .milliseconds(100) } ?? false }

    func reaches(_ target: EventID, from id: EventID, within duration: Duration) -> Bool {
        Double(target.rawValue - id.rawValue) <= perSecond * (duration / .seconds(1))
    }
}
