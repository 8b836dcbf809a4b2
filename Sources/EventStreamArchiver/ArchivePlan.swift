import EventStream
import EventStreamDatabase

/// What is done in the warehouse, step by step: taking the position up, following the stream's generation, asking for what the
/// warehouse lacks, copying.
///
///     idle ─▶ connecting ─▶ locking ─▶ reading ─▶ introducing ─▶ signing ─┐
///      ▲                                                                  ▼
///      │                                          a look: pinging ◀── the position is the session's
///      │                                                                  │ a batch
///      │       ┌── another generation: following ◀────────────────────────┤
///      │       ▼                                                          │
///      │    recalling ─▶ polling ⟲ ─▶ searching ─▶ copying what is missing│ ⟲     once a connection
///      │                    │                                             ▼
///      └────────────────────┴────────────────────────── searching ─▶ copying
///
/// Steps that are not needed are left out. A step that fails ends the work, from everywhere to idle.
///
/// Each method tells what happened, and returns what is to be done about it. The batch's way around it, with retries and
/// answers, is ``BatchMachine``'s.
struct ArchivePlan {
    let want: EventFilter
    /// How many pushers can be asked for missing events.
    let endpoints: Int
    private(set) var state = State.idle
    /// How the archiver stands, by what it knows.
    private(set) var standing: Standing?
    /// Whether the present connection has the lock; and the session that has introduced itself over it.
    private(set) var hasLock = false
    private(set) var introduced: Int?
    /// Whether the lock was to be given up, and that failed: only the end of the connection certainly gives the lock up.
    private var mayHoldLock = false
    /// What was written beside the position, and in which session.
    private var token: (text: String, session: Int)?
    /// Whether nothing is missing before what the pusher sends, as far as the present connection can know.
    private(set) var isComplete = false
    /// What the warehouse lacks up to here was discarded; nil if nothing is known to be missing that is not noted there.
    private var completeFrom: EventID?
    private var work = Work.look(session: nil)
    private var count = 0

    /// Missing events that are copied at once.
    static let missingAtOnce = 5000

    init(want: EventFilter, endpoints: Int) {
        self.want = want
        self.endpoints = endpoints
    }

    /// Whether the archiver is on its way to the position.
    var isTakingUp: Bool {
        switch state {
        case .locking, .reading, .introducing, .signing, .givingUp(isRefused: true): true
        default: false
        }
    }

    // MARK: Beginning

    /// - Parameter isConnected: whether the connection of before is still open. It ends where another is asked for.
    mutating func begin(_ work: Work, isConnected: Bool) -> Action {
        (self.work, count) = (work, 0)
        if case .append(let events, _, _) = work, events.isEmpty { return done() }
        guard isConnected, standing != nil, !mayHoldLock else {
            state = .connecting
            return .connect
        }
        return takeUp()
    }

    /// A new connection knows nothing of what the one before had.
    mutating func connected(_ standing: Standing) -> Action {
        self.standing = standing
        (hasLock, mayHoldLock, introduced, isComplete) = (false, false, nil, false)
        return takeUp()
    }

    // MARK: Whose position it is

    private mutating func takeUp() -> Action {
        guard let session else { return hasLock ? giveUp(isRefused: false) : ping() }
        guard hasLock else {
            state = .locking
            return .takeLock
        }
        guard introduced != session else { return isOurs() }
        state = .reading
        return .readPosition
    }

    private var origin: StreamOrigin? { if case .append(_, let origin, _) = work { origin } else { nil } }

    private var session: Int? {
        switch work {
        case .append(_, _, let session): session
        case .look(let session): session
        }
    }

    mutating func lockTaken() -> Action {
        hasLock = true
        return takeUp()
    }

    private mutating func giveUp(isRefused: Bool) -> Action {
        (hasLock, introduced) = (false, nil)
        state = .givingUp(isRefused: isRefused)
        return .giveUpLock
    }

    mutating func lockGivenUp() -> Action { state == .givingUp(isRefused: false) ? ping() : fail(nil) }

    /// The active database hears of the token first, then the warehouse: whatever happens in between, it knows what is there.
    private mutating func introduce(to found: Standing) -> Action {
        stands(at: found)
        if let token, token.session == session, found.token == token.text { return isOurs() }
        state = .introducing(known: found.token)
        return .introduce(known: found.token)
    }

    mutating func introduced(as token: String) -> Action {
        guard case .introducing(let known) = state else { return fail(nil) }
        state = .signing(token)
        return .sign(token, insteadOf: known)
    }

    /// The pusher is too old to know of warehouses.
    mutating func introducedInVain() -> Action { isOurs() }

    mutating func signed() -> Action {
        guard case .signing(let text) = state, let session else { return fail(nil) }
        token = (text, session)
        standing?.token = text
        return isOurs()
    }

    private mutating func isOurs() -> Action {
        introduced = session
        if case .append = work { return append() }
        return ping()
    }

    private mutating func ping() -> Action {
        state = .pinging
        return .ping
    }

    /// What else the archiver knows of where it stands remains.
    private mutating func stands(at found: Standing) {
        var now = found
        (now.want, now.newest) = (want, standing?.newest)
        standing = now
    }

    // MARK: The batch

    private mutating func append() -> Action {
        guard case .append(let events, let origin, _) = work, let standing else { return fail(nil) }
        if state != .following, let origin, origin.generation != standing.generation {
            state = .following
            return .follow(origin, from: standing)
        }
        guard !isComplete else { return copy(events, nil) }
        state = .recalling
        return .readPosition
    }

    mutating func followed(_ now: Standing) -> Action {
        standing = now
        return append()
    }

    mutating func found(_ found: Standing?) -> Action {
        switch (state, found) {
        case (.reading, let found?): return introduce(to: found)
        case (.reading, nil): return fail(.positionGone)
        case (.recalling, nil): return completed()
        case (.recalling, let found?):
            stands(at: found)
            guard endpoints > 0 else { return fail(.nobodyToAsk) }
            return poll(Missing(position: found.position, next: found.position))
        default: return fail(nil)
        }
    }

    // MARK: What was confirmed and the warehouse lacks: it was restored, or replaced by one that lags

    private mutating func poll(_ missing: Missing) -> Action {
        state = .polling(missing)
        return .poll(endpoint: missing.endpoint, after: missing.next, generation: origin?.generation.id)
    }

    /// - Parameter discarded: up to here events were discarded, by a look that began after the answer.
    mutating func polled(_ answer: [Event], discarded: EventID) -> Action {
        guard case .polling(var missing) = state, case .append(let events, _, _) = work, let first = events.first?.id
        else { return fail(nil) }
        if discarded > missing.next { completeFrom = max(completeFrom ?? .none, discarded) }
        missing.events += answer.prefix { $0.id < first }
        missing.next = answer.last?.id ?? missing.next
        missing.isMore = answer.last.map { $0.id < first } ?? false
        state = .pollPinging(missing)
        return .ping
    }

    /// Not every pusher need read the same database: the next one may answer.
    ///
    /// - Parameter isForbidden: whether this archiver may not poll; then nothing is known to be missing.
    mutating func pollFailed(isForbidden: Bool) -> Action {
        guard case .polling(let missing) = state else { return fail(nil) }
        // What the active database takes for archived may not be here, and nobody can be asked.
        if isForbidden, let after = origin?.after, after > missing.position { completeFrom = after }
        if isForbidden { return completed() }
        guard missing.endpoint + 1 < endpoints else { return fail(nil) }
        return poll(Missing(endpoint: missing.endpoint + 1, position: missing.position, next: missing.position))
    }

    mutating func pinged() -> Action {
        guard case .pollPinging(let missing) = state else { return done() }
        if missing.isMore, missing.events.count < ArchivePlan.missingAtOnce { return poll(missing) }
        return missing.events.isEmpty ? completed() : copy(missing.events, missing)
    }

    private mutating func completed() -> Action {
        isComplete = true
        return append()
    }

    // MARK: Copying

    /// - Parameter missing: nil for the events of the batch.
    private mutating func copy(_ events: [Event], _ missing: Missing?) -> Action {
        guard case .append(_, let origin, _) = work, let standing, let first = events.first?.id, let last = events.last?.id
        else { return fail(nil) }
        guard origin == nil || origin?.generation == standing.generation else { return fail(.otherGeneration) }
        // What has been archived before and comes again is compared, too: nothing else would show that it is another event.
        if standing.hasDoubtful || first <= standing.position { return copy(events, missing, comparing: true) }
        guard let newest = standing.newest, first <= newest else { return copy(events, missing, comparing: false) }
        state = .searching(events, missing)
        return .search(from: first, through: last, want: standing.want)
    }

    private mutating func copy(_ events: [Event], _ missing: Missing?, comparing: Bool) -> Action {
        guard let standing else { return fail(nil) }
        state = .copying(events, missing)
        return .copy(
            Copy(
                events: events, standing: standing, comparing: comparing, lackedSince: missing?.position,
                completeFrom: completeFrom))
    }

    /// - Parameter holdsAny: whether the history has some of the events' ids.
    mutating func searched(_ holdsAny: Bool) -> Action {
        guard case .searching(let events, let missing) = state else { return fail(nil) }
        return copy(events, missing, comparing: holdsAny)
    }

    /// - Parameter new: how many events were new.
    mutating func copied(_ new: Int) -> Action {
        guard case .copying(let events, var missing) = state, let last = events.last?.id, let standing else { return fail(nil) }
        self.standing?.position = max(standing.position, last)
        self.standing?.doubtfulAfter = max(standing.doubtfulAfter, last)
        (count, completeFrom) = (count + new, nil)
        guard missing != nil else { return done() }
        missing?.events = []
        guard let missing, missing.isMore else { return completed() }
        return poll(missing)
    }

    /// Nothing was copied: the position was another. An archiver of before has moved it, or somebody has set it back.
    mutating func moved(to now: Standing) -> Action {
        guard case .copying(let events, let missing) = state else { return fail(nil) }
        guard now.token == standing?.token else {
            (introduced, token) = (nil, nil)
            return fail(.takenOver)
        }
        stands(at: now)
        return copy(events, missing)
    }

    // MARK: The end

    private mutating func done() -> Action {
        state = .idle
        return .done(count)
    }

    private mutating func fail(_ refusal: Refusal?) -> Action {
        state = .idle
        return .fail(refusal)
    }

    /// A step failed.
    ///
    /// - Parameter isUnknown: whether the active database does not know the warehouse. Who may not archive there keeps nobody out.
    mutating func failed(isUnknown: Bool = false) -> Action {
        if isUnknown, case .introducing = state { return giveUp(isRefused: true) }
        if case .givingUp = state { mayHoldLock = true }
        return fail(nil)
    }
}
