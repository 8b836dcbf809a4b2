package import EventStream
package import EventStreamDatabase
import EventStreamServer

/// Reads the head of the stream, turn by turn: ``SettledHorizon`` says what may be delivered, ``SleepLatch`` when to read.
///
/// A turn begins when the latch says so (``SleepLatch/Action/read(_:)``): ``begin(isAsked:at:)`` names the first query,
/// ``sawHolders(_:newest:drawn:took:at:)`` and ``sawRows(_:isCut:took:at:)`` take the answers, ``end(latched:isAsked:at:)`` says what comes
/// next. The order of the queries is what keeps events safe, so it is decided here and not by the driver: holders first,
/// then rows with a snapshot taken after that.
///
/// - Permits: any answer to be followed by ``started(as:)``: a new connection has begun, and what was learned of locks on
///   the old one is forgotten.
package struct HeadReader: Sendable {
    package enum Query: Hashable, Sendable {
        /// Who holds RowExclusiveLock on the event table; before that, if asked for, the newest visible id. That is found by way of all
        /// rows that open transactions have recorded after it, and so is as dear as these are many.
        case holders(withNewest: Bool)
        /// The rows past this id, in id order.
        case rows(after: EventID)
        /// The sequence must go on beyond this id, which it has not given; then ask for the holders again.
        case advance(beyond: EventID)
    }

    package struct Configuration: Sendable {
        package var latch = SleepLatch.Configuration()
        /// A younger gap is not worth a look at the locks: it mostly closes by itself.
        package var gapDelay = Duration.milliseconds(3)
        /// Looking at the locks takes at most one part in so many of the time, if many connections make it dear…
        package var lookShare = 10
        /// …but what ends meanwhile is not noticed later than this.
        package var longestLookPause = Duration.milliseconds(20)
        /// A read that takes longer and finds nothing has passed many rows that are not committed: it is not made again before one of
        /// those ends who may have recorded them.
        package var dearRead = Duration.milliseconds(20)
        /// After so many rows in one turn the next ones wait for company, for so long: fewer and larger reads cost writers and readers
        /// less. Zero for no pause.
        package var busyRows = 100
        package var busyPause = Duration.milliseconds(2)
        /// The same after fewer rows, where processors are short.
        var pace = HeadPace.Configuration()
        package init() {}
    }

    private let configuration: Configuration
    package private(set) var horizon: SettledHorizon
    private var latch: SleepLatch
    private var pace: HeadPace
    /// The last row that was reported.
    private var lastSeen: EventID
    /// Reads find nothing, and are dear: those who may have recorded what cannot be seen yet; nil until the locks have been looked at.
    private var lull: Lull?
    private struct Lull { var holders: Set<TableWriter>? }
    /// The locks may be looked at again from here on.
    private var nextLook: MonotonicTime?
    // The present turn.
    private var hasLooked = false
    private var foundRows = false
    private var manyRows = false
    private var more = false

    /// - Parameter settled: every event up to here has been reported.
    package init(settled: EventID, _ configuration: Configuration) {
        self.configuration = configuration
        horizon = SettledHorizon(settled: settled)
        lastSeen = settled
        latch = SleepLatch(configuration.latch, role: .waker)
        pace = HeadPace(configuration.pace)
    }

    package var settled: EventID { horizon.settled }
    package var gap: SettledHorizon.Gap? { horizon.gap }
    package var role: SleepLatch.Role { latch.role }

    // MARK: When to read

    /// There is a new connection, which holds no locks.
    package mutating func started(as role: SleepLatch.Role) -> SleepLatch.Action {
        horizon = SettledHorizon(settled: horizon.settled)
        (lastSeen, lull, nextLook) = (horizon.settled, nil, nil)
        return latch.started(as: role)
    }

    package mutating func roleChanged(to role: SleepLatch.Role) { latch.roleChanged(to: role) }
    package mutating func timerFired() -> SleepLatch.Action? { latch.timerFired() }
    /// Somebody asks for the newest state.
    package mutating func asked() -> SleepLatch.Action? { latch.woken() }
    package mutating func notified(by process: Int32, at now: MonotonicTime) -> SleepLatch.Action? {
        latch.notified(by: process, at: now)
    }

    // MARK: A turn

    /// - Parameter isAsked: whether somebody waits for what this turn finds.
    /// - Returns: the first query; nil if there is nothing worth asking, and the turn ends.
    package mutating func begin(isAsked: Bool, at now: MonotonicTime) -> Query? {
        (hasLooked, foundRows, manyRows, more) = (false, false, false, false)
        guard let gap else {
            guard lull != nil else { return .rows(after: settled) }
            return nextLook.map { $0 <= now } ?? true ? .holders(withNewest: false) : nil
        }
        let isOld = now - gap.openedAt >= configuration.gapDelay
        guard isOld || isAsked || gap.holders != nil else { return .rows(after: settled) }
        guard nextLook.map({ $0 <= now }) ?? true else {
            // Nothing new can be told from rows while somebody is known to be at work in the gap.
            return gap.holders == nil ? .rows(after: settled) : nil
        }
        // While those are waited for who were found by the first look, nothing depends on what is newest.
        return .holders(withNewest: gap.holders == nil)
    }

    /// - Parameters:
    ///   - newest: the newest id visible before the locks were looked at; nil if it was not asked for.
    ///   - drawn: the last id the sequence has given, as far as it is known. An id beyond was supplied by hand: those drawn
    ///     later would come before it, so nothing is delivered across it before the sequence has moved on.
    ///   - took: how long the query took.
    /// - Returns: the next query; nil ends the turn.
    package mutating func sawHolders(
        _ present: Set<TableWriter>, newest: EventID? = nil, drawn: EventID? = nil, took: Duration,
        at now: MonotonicTime
    ) -> Query? {
        let newest = max(newest ?? lastSeen, lastSeen)
        if let drawn, newest > drawn { return .advance(beyond: newest) }
        hasLooked = true
        nextLook = now + min(took * configuration.lookShare, configuration.longestLookPause)
        let isWorthReading = horizon.holders(present, newest: newest)
        guard gap == nil else { return isWorthReading ? .rows(after: settled) : nil }
        return mayEndLull(present, drawn: drawn) ? .rows(after: settled) : nil
    }

    /// Nothing was visible, by a read that was dear. Of the ids drawn before the first look after it, what is not visible can only be
    /// recorded by those who held the lock then; and what is recorded later waits for them.
    private mutating func mayEndLull(_ present: Set<TableWriter>, drawn: EventID?) -> Bool {
        guard lull != nil else { return false }
        let before = lull?.holders
        let remaining = before?.intersection(present) ?? present
        // Where nothing has been drawn, or it is not known, the next event may be anybody's.
        let isHeldBack = !remaining.isEmpty && (drawn.map { $0 > settled } ?? false)
        lull = isHeldBack ? Lull(holders: remaining) : nil
        // Once after the first look: whoever was not found any more may have ended since the last read.
        return remaining != before || !isHeldBack
    }

    /// - Parameters:
    ///   - ids: of the rows read, in order.
    ///   - isCut: whether a limit ended the page.
    ///   - took: how long the query took.
    /// - Returns: how many of them, from the first, may be delivered.
    package mutating func sawRows(
        _ ids: some RandomAccessCollection<EventID>, isCut: Bool, took: Duration = .zero, at now: MonotonicTime
    ) -> Int {
        lastSeen = max(lastSeen, ids.last ?? .none)
        if !ids.isEmpty || took < configuration.dearRead { lull = nil } else if lull == nil { lull = Lull() }
        let deliverable = horizon.rows(ids, at: now)
        foundRows = deliverable > 0
        if foundRows, took > .zero { pace.read(took: took) }
        manyRows = deliverable >= configuration.busyRows
        more = isCut && deliverable == ids.count
        return deliverable
    }

    /// Whether those who asked before this turn began know everything that was committed then, as far as no open
    /// transaction holds it back.
    ///
    /// After a look at the locks, what is still hidden is held back by somebody, or was committed after the turn began.
    package var isFresh: Bool { isHeldBack ? hasLooked : !more }

    private var isHeldBack: Bool { gap != nil || lull?.holders != nil }

    /// The turn is over.
    ///
    /// - Parameters:
    ///   - latched: what became of the attempt to take the latch, if one was made in this turn.
    ///   - isAsked: whether somebody waits for a further turn.
    ///   - areProcessorsShort: whether others want the processors that reading takes.
    package mutating func end(
        latched: Bool?, isAsked: Bool, areProcessorsShort: Bool = false, at now: MonotonicTime
    ) -> SleepLatch.Action {
        let pace = areProcessorsShort ? pace.pause : .zero
        var action = latch.didRead(
            foundRows: foundRows, company: manyRows ? configuration.busyPause : pace, more: more, latched: latched,
            blocked: isHeldBack)
        // A gap nobody has looked into mostly closes at once: until it is worth that look, pauses do not grow.
        if !manyRows, let gap, gap.holders == nil, case .pause(let pause) = action {
            action = .pause(min(pause, max(pace, configuration.latch.shortestPause)))
        } else if case .pause(let pause) = action {
            action = .pause(max(pause, pace))
        }
        guard isAsked else { return action }
        switch action {
        case .read: return action
        case .pause(let pause), .sleep(let pause):
            let wait = !isHeldBack ? .zero : max(.zero, nextLook.map { $0 - now } ?? .zero)
            return wait == .zero ? latch.woken() ?? action : .pause(min(wait, pause))
        }
    }
}
