import DequeModule

/// Where a session's next events come from: the window shared by all at the head, or history read for this one alone.
///
/// A consumer far behind reads history in pages, each read begun while the page before is still on its way to the
/// receiver. The rule that joins the two without a gap or a double: the window's end is looked at *before* a read begins
/// and bounds it; the read's own answer says how far it is complete; and the window takes over only at a position it
/// covers.
///
/// - Permits: at most one read under way; pages are taken in order, each continuing where the one before ended.
public struct ConsumerFeed: Sendable {
    /// A read of history: events with ids in (after, through].
    public struct Read: Hashable, Sendable {
        public let after: EventID
        public let through: EventID
    }

    /// A filter must not make one read look at more ids than this: others wait behind it.
    public let longestScan: Int64?
    private var pages: Deque<EventPage> = []
    private var reading: Read?
    /// How far reads are complete.
    private var frontier: EventID

    /// - Parameters:
    ///   - position: where the session starts.
    ///   - longestScan: ids a single read covers at most; nil for no bound but the page's own.
    public init(after position: EventID, longestScan: Int64? = nil) {
        frontier = position
        self.longestScan = longestScan
    }

    public var isReading: Bool { reading != nil }
    /// Bytes of history waiting for their turn.
    public var byteCount: Int { pages.reduce(0) { $0 + $1.byteCount } }

    /// The page of history that continues after the cursor; nil if there is none, or the window has taken over.
    public mutating func page(after cursor: EventID) -> EventPage? {
        while let first = pages.first, first.through <= cursor { pages.removeFirst() }
        return pages.first
    }

    /// The read to begin now, if any.
    ///
    /// - Parameters:
    ///   - cursor: the last id given to a group, or passed over.
    ///   - window: what the shared window holds at this moment.
    ///   - room: groups that may still be put in flight; so many pages are worth having.
    public mutating func nextRead(after cursor: EventID, window: EventWindow, room: Int) -> Read? {
        frontier = max(frontier, cursor)
        guard reading == nil, pages.count < room, !window.covers(after: frontier) else { return nil }
        let bound = longestScan.map { EventID(frontier.rawValue + $0) } ?? window.end
        let read = Read(after: frontier, through: min(window.end, bound))
        reading = read
        return read
    }

    /// A read came back, complete up to `through`; its page follows with ``add(_:)``.
    public mutating func returned(_ read: Read, through: EventID) {
        guard reading == read else { return }
        reading = nil
        frontier = max(frontier, through)
    }

    /// A read failed; the next one asks for the same again.
    public mutating func failed(_ read: Read) { if reading == read { reading = nil } }

    /// The page of the read that came back last.
    public mutating func add(_ page: EventPage) { pages.append(page) }
}
