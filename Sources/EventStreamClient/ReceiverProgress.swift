package import EventStream

/// The receiving side of a session: order restored by sequence number, duplicates dropped by id.
///
/// Groups that have arrived are handed out in order as batches, one batch at a time; a call is answered when the batch
/// its group went into has been processed. The rule that keeps events safe: a group is never answered with success
/// while it holds an event that has not been processed, whatever its sequence number suggests.
///
/// A session may begin anew without our being told, and groups of the old one may still wait here. A number that comes
/// again with other events gives it away: what waits behind that number is of the old session and is forgotten. As long
/// as the events are the same, what waits continues them.
package struct ReceiverProgress: Sendable {
    /// Events to process, out of one group or several.
    package struct Batch: Sendable {
        /// In id order; none of them was processed before.
        package let events: [Event]
        fileprivate let sequences: ClosedRange<UInt64>
        fileprivate let session: Int
        fileprivate let last: EventID
        fileprivate let generation: Int
    }

    package enum Arrival: Hashable, Sendable {
        /// Kept; it will be answered after it has been processed.
        case kept
        /// Processed before: the first answer was lost. Answer with success at once.
        case answerAgain
        /// Further ahead of what was processed than any honest server is. Answer with an error.
        case refused
    }

    private struct Group: Sendable {
        var rid: RequestID?
        var events: [Event]
    }

    private let window: UInt64
    private let mayHaveGaps: Bool
    private var groups: [UInt64: Group] = [:]
    /// The number of the group to hand out next.
    private var next: UInt64 = 0
    private(set) var session = 0
    private var generation = 0
    /// Which events came under the recent numbers.
    private var contents: [UInt64: ClosedRange<EventID>] = [:]
    private var untrusted: [RequestID?] = []
    private var current: (batch: Batch, rids: [UInt64: RequestID?])?
    /// Everything up to here has been processed; survives sessions.
    package private(set) var processed: EventID

    /// - Parameters:
    ///   - processed: the newest event processed in an earlier life; it and older ones are dropped.
    ///   - mayHaveGaps: true for live sessions, whose sequence skips a number for a dropped group.
    ///   - window: how many groups may wait; bounds memory. More than any server's `request_max`.
    package init(processed: EventID = .none, mayHaveGaps: Bool = false, window: UInt64 = 1024) {
        self.processed = processed
        self.mayHaveGaps = mayHaveGaps
        self.window = window
    }

    /// Numbers start at 0 again. A batch that is being processed goes on, but its calls cannot be answered any more.
    package mutating func sessionStarted() {
        session += 1
        groups = [:]
        contents = [:]
        untrusted = []
        next = 0
        current?.rids = [:]
    }

    /// The stream is of another generation: what was processed says nothing about the events of this one. A new session.
    package mutating func streamWentBack() {
        sessionStarted()
        generation += 1
        processed = .none
    }

    /// A call arrived.
    package mutating func arrived(sequence: UInt64, events: [Event], rid: RequestID?) -> Arrival {
        forgetOldSession(sequence: sequence, events: events, rid: rid)
        if let current, current.batch.session == session, current.batch.sequences.contains(sequence),
            (events.last?.id ?? .none) <= current.batch.last
        {
            // The same group again, while it is being processed: the answer goes to the newest call.
            self.current?.rids[sequence] = rid
            return .kept
        }
        if sequence < next {
            guard let last = events.last?.id, last > processed else { return .answerAgain }
            // An old number with a new event: a session we were not told of. What came before was answered, but for calls
            // that wait for the batch being processed: should it fail, its events must come again.
            let waiting = current.flatMap { $0.batch.session == session ? $0 : nil }
            let unanswered = untrusted + (waiting?.rids.sorted { $0.key < $1.key }.map(\.value) ?? [])
            sessionStarted()
            untrusted = unanswered
            next = min(sequence, waiting?.batch.sequences.lowerBound ?? sequence)
        }
        guard sequence - next < window else { return .refused }
        groups[sequence] = Group(rid: rid, events: events)
        return .kept
    }

    private mutating func forgetOldSession(sequence: UInt64, events: [Event], rid: RequestID?) {
        guard let first = events.first?.id, let last = events.last?.id, !mayHaveGaps else { return }
        if let known = contents.updateValue(first...last, forKey: sequence) {
            guard known != first...last else { return }
            groups = groups.filter { $0.key <= sequence }
            contents = contents.filter { $0.key <= sequence }
        } else {
            // A number not seen before, after later ones: late, if it was called before them; else they are old.
            for (later, group) in groups where later > sequence {
                guard let mine = rid?.number, let theirs = group.rid?.number, theirs < mine else { continue }
                untrusted.append(group.rid)
                groups[later] = nil
                contents[later] = nil
            }
        }
    }

    /// Hands out what is due, as one batch; nil if there is nothing, or the batch before is not done.
    ///
    /// - Parameter limit: groups are added while the batch stays within so many events; the first always fits.
    package mutating func nextBatch(limit: Int) -> Batch? {
        guard current == nil else { return nil }
        if mayHaveGaps, groups[next] == nil, let lowest = groups.keys.min() { next = lowest }
        let first = next
        var events: [Event] = []
        var rids: [UInt64: RequestID?] = [:]
        while let group = groups[next], rids.isEmpty || events.count + group.events.count <= limit {
            groups[next] = nil
            rids[next] = .some(group.rid)
            let newest = events.last?.id ?? processed
            events += group.events.filter { $0.id > newest }
            next += 1
        }
        guard !rids.isEmpty else { return nil }
        if contents.count > 2 * window { contents = contents.filter { $0.key + window >= next } }
        let batch = Batch(
            events: events, sequences: first...(next - 1), session: session, last: events.last?.id ?? processed,
            generation: generation)
        current = (batch, rids)
        return batch
    }

    /// Groups that have arrived and are not handed out.
    package var waiting: Int { groups.count }

    /// Groups of the batch that is out.
    package var handedOut: Int { current?.rids.count ?? 0 }

    /// Whether a batch is out.
    package var isProcessing: Bool { current != nil }

    /// Calls to answer with an error: what they brought may be of a session that is over.
    package mutating func takeUntrusted() -> [RequestID?] {
        defer { untrusted = [] }
        return untrusted
    }

    /// The batch handed out last has been processed.
    ///
    /// - Returns: the calls to answer with success.
    package mutating func succeeded() -> [RequestID?] {
        guard let (batch, rids) = current else { return [] }
        current = nil
        if batch.generation == generation { processed = max(processed, batch.last) }
        return rids.sorted { $0.key < $1.key }.map(\.value)
    }

    /// The batch handed out last could not be processed; it will be delivered again.
    ///
    /// - Returns: the calls to answer with an error.
    package mutating func failed() -> [RequestID?] {
        guard let (batch, rids) = current else { return [] }
        current = nil
        if batch.session == session { next = batch.sequences.lowerBound }
        return rids.sorted { $0.key < $1.key }.map(\.value)
    }
}
