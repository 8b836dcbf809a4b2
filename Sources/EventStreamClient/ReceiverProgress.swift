package import EventStream

/// The receiving side of a session: order restored by sequence number, duplicates dropped by id.
///
/// Groups that have arrived are handed out in order as batches, one batch at a time; a call is answered when the batch
/// its group went into has been processed. The rule that keeps events safe: a group is never answered with success
/// while it holds an event that has not been processed, whatever its sequence number suggests.
///
/// A session may begin anew without our being told, and groups of the old one may still wait here. A number that comes
/// again with other events gives it away: what waits behind that number is of the old session and is forgotten. As long
/// as the events are the same, what waits continues them. In a session with partial processing each call tells which session
/// it is of, and nothing has to be guessed.
package struct ReceiverProgress: Sendable {
    /// Events to process, out of one group or several.
    package struct Batch: Sendable {
        /// In id order; none of them was processed before.
        package let events: [Event]
        /// Whether it is one event that was parked and comes again: its id is lower than what came before.
        package let isParked: Bool
        fileprivate let session: Int
        fileprivate let last: EventID
        fileprivate let generation: Int
    }

    /// What is to be answered about a batch that could not be processed to its end.
    package struct Stop: Sendable {
        /// To these calls: success.
        package fileprivate(set) var processed: [RequestID?] = []
        /// To this call: what was processed of its group, and which event failed. Nil where the session has no partial processing,
        /// or is over.
        package fileprivate(set) var partly: (rid: RequestID?, through: EventID?, failed: EventID)?
        /// To these calls: an error.
        package fileprivate(set) var failed: [RequestID?] = []
    }

    package enum Arrival: Hashable, Sendable {
        /// Kept; it will be answered after it has been processed.
        case kept
        /// Processed before: the first answer was lost. Answer with success at once.
        case answerAgain
        /// A parked event that has failed already: the first answer was lost. Answer with an error at once.
        case failedBefore
        /// Further ahead of what was processed than any honest server is. Answer with an error.
        case refused
    }

    private struct Group: Sendable {
        var rid: RequestID?
        var events: [Event]
        var isParked = false
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
    /// The batch that is out, and its groups that are not answered yet: a group without its call is of a session that is over.
    private var current: (batch: Batch, sequences: Range<UInt64>, groups: [UInt64: Group])?
    /// As the server tells it, in sessions with partial processing.
    private var told: Int64?
    /// Numbers of this session under which a parked event has failed.
    private var failedParked: Set<UInt64> = []
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
        told = nil
        failedParked = []
        current?.groups = [:]
    }

    /// The stream is of another generation: what was processed says nothing about the events of this one. A new session.
    package mutating func streamWentBack() {
        sessionStarted()
        generation += 1
        processed = .none
    }

    /// A call arrived.
    ///
    /// - Parameters:
    ///   - number: the session it is of, where the server tells.
    ///   - isParked: whether its one event was parked, and comes again.
    package mutating func arrived(
        sequence: UInt64, events: [Event], rid: RequestID?, session number: Int64? = nil, isParked: Bool = false
    ) -> Arrival {
        if let number {
            if let told, told != number { sessionStarted() }
            told = number
        } else {
            forgetOldSession(sequence: sequence, events: events, rid: rid)
        }
        if let current, current.batch.session == session, current.sequences.contains(sequence),
            (events.last?.id ?? .none) <= current.batch.last
        {
            // The same group again, while it is being processed: the answer goes to the newest call.
            self.current?.groups[sequence] = Group(rid: rid, events: events, isParked: isParked)
            return .kept
        }
        if sequence < next, told != nil {
            guard !failedParked.contains(sequence) else { return .failedBefore }
            return isParked || (events.last?.id ?? .none) <= processed ? .answerAgain : .refused
        }
        if sequence < next {
            guard let last = events.last?.id, last > processed else { return .answerAgain }
            // An old number with a new event: a session we were not told of. What came before was answered, but for calls
            // that wait for the batch being processed: should it fail, its events must come again.
            let waiting = current.flatMap { $0.batch.session == session ? $0 : nil }
            let unanswered = untrusted + (waiting.map { ReceiverProgress.calls($0.groups) } ?? [])
            sessionStarted()
            untrusted = unanswered
            next = min(sequence, waiting?.sequences.lowerBound ?? sequence)
        }
        guard sequence - next < window else { return .refused }
        groups[sequence] = Group(rid: rid, events: events, isParked: isParked)
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

    /// Passes over the groups that are due and hold nothing new: all of it was processed in an earlier session.
    ///
    /// - Returns: the calls to answer with success; none while a batch is out.
    package mutating func takeProcessed() -> [RequestID?] {
        guard current == nil else { return [] }
        skipGap()
        var calls: [RequestID?] = []
        while let group = groups[next], !group.isParked, (group.events.last?.id ?? .none) <= processed {
            groups[next] = nil
            calls.append(group.rid)
            next += 1
            skipGap()
        }
        return calls
    }

    private mutating func skipGap() {
        if mayHaveGaps, groups[next] == nil, let lowest = groups.keys.min() { next = lowest }
    }

    /// Hands out what is due, as one batch; nil if there is nothing, or the batch before is not done.
    ///
    /// The first group has something new: ``takeProcessed()``.
    ///
    ///
    /// - Parameter limit: groups are added while the batch stays within so many events; the first always fits.
    package mutating func nextBatch(limit: Int) -> Batch? {
        guard current == nil else { return nil }
        skipGap()
        let first = next
        var events: [Event] = []
        var taken: [UInt64: Group] = [:]
        let isParked = groups[next]?.isParked ?? false
        // A parked event is a batch of its own.
        while let group = groups[next],
            taken.isEmpty || !isParked && !group.isParked && events.count + group.events.count <= limit
        {
            groups[next] = nil
            taken[next] = group
            let newest = events.last?.id ?? processed
            events += group.events.filter { isParked || $0.id > newest }
            next += 1
        }
        guard !taken.isEmpty else { return nil }
        if contents.count > 2 * window { contents = contents.filter { $0.key + window >= next } }
        let batch = Batch(
            events: events, isParked: isParked, session: session, last: events.last?.id ?? processed, generation: generation)
        current = (batch, first..<next, taken)
        return batch
    }

    /// Groups that have arrived and are not handed out.
    package var waiting: Int { groups.count }

    /// Groups of the batch that is out.
    package var handedOut: Int { current?.groups.count ?? 0 }

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
        guard let (batch, _, groups) = current else { return [] }
        current = nil
        note(batch.last, of: batch)
        return ReceiverProgress.calls(groups)
    }

    private mutating func note(_ last: EventID, of batch: Batch) {
        // A parked event says nothing of those before it: after a step back they may still come.
        if batch.generation == generation, !batch.isParked { processed = max(processed, last) }
    }

    private static func calls(_ groups: [UInt64: Group]) -> [RequestID?] {
        groups.sorted { $0.key < $1.key }.map(\.value.rid)
    }

    /// The batch handed out last has been processed up to one of its events; the rest is being processed.
    ///
    /// - Returns: the calls to answer with success: their groups are processed whole.
    package mutating func succeeded(through last: EventID) -> [RequestID?] {
        guard let batch = current?.batch, var sequences = current?.sequences, var groups = current?.groups,
            last < batch.last
        else { return [] }
        note(last, of: batch)
        var done: [RequestID?] = []
        while let first = sequences.first, groups[first].map({ ($0.events.last?.id ?? .none) <= last }) ?? false {
            done.append(groups.removeValue(forKey: first)?.rid)
            sequences.removeFirst()
        }
        current = (batch, sequences, groups)
        return done
    }

    /// One event of the batch handed out last could not be processed; those before it have been.
    ///
    /// What is left of its group comes again, and nothing later is handed out before that.
    package mutating func stopped(at failed: EventID) -> Stop {
        var stop = Stop()
        guard let batch = current?.batch else { return stop }
        if let before = batch.events.last(where: { $0.id < failed })?.id { stop.processed = succeeded(through: before) }
        guard let (_, sequences, groups) = current else { return stop }
        current = nil
        guard batch.session == session else {
            stop.failed = ReceiverProgress.calls(groups)
            return stop
        }
        guard !batch.isParked else {
            failedParked.insert(sequences.lowerBound)
            stop.partly = (groups[sequences.lowerBound]?.rid, nil, failed)
            return stop
        }
        next = sequences.lowerBound
        guard told != nil, let group = groups[next] else {
            stop.failed = ReceiverProgress.calls(groups)
            return stop
        }
        stop.partly = (group.rid, group.events.last { $0.id < failed }?.id, failed)
        // They wait again.
        for (sequence, group) in groups where sequence > next { self.groups[sequence] = group }
        return stop
    }

    /// The batch handed out last could not be processed; it will be delivered again.
    ///
    /// - Returns: the calls to answer with an error.
    package mutating func failed() -> [RequestID?] {
        guard let (batch, sequences, groups) = current else { return [] }
        current = nil
        if batch.session == session {
            if batch.isParked { failedParked.insert(sequences.lowerBound) } else { next = sequences.lowerBound }
        }
        return ReceiverProgress.calls(groups)
    }
}
