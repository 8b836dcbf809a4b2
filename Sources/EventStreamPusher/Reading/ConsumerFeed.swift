import DequeModule
package import EventStream

/// Where a session's next events come from: the window shared by all at the head, or older events read for this one alone.
/// The table of these is ``CatchUpPort``'s affair.
///
/// A consumer far behind catches up in pages, each read begun while the page before is still on its way to the
/// receiver. The rule that joins the two without a gap or a double: the window's end is looked at *before* a read begins
/// and bounds it; the read's own answer says how far it is complete; and the window takes over only at a position it
/// covers.
///
/// - Permits: at most one read under way; pages are taken in order, each continuing where the one before ended. What is
///   not asked for any more when it arrives is dropped.
package struct ConsumerFeed: Sendable {
    /// A read of older events, with ids in (after, through].
    package struct Read: Hashable, Sendable {
        package let after: EventID
        package let through: EventID
        /// How often the feed had been cleared: the same range read before that is another read.
        fileprivate(set) var turn = 0
    }

    private var pages: Deque<EventPage> = []
    private var reading: Read?
    /// A read has come back, complete up to here; its page is being put into its wire form.
    private var arriving: EventID?
    private var turn = 0

    package init() {}

    /// The page of older events that continues after the cursor; nil if there is none.
    package mutating func page(after cursor: EventID) -> EventPage? {
        while let first = pages.first, first.through <= cursor { pages.removeFirst() }
        // A page must continue at the cursor, or it would leave something out.
        if let first = pages.first, first.after > cursor { clear() }
        return pages.first
    }

    /// The read to begin now, if any.
    ///
    /// - Parameters:
    ///   - cursor: the last id given to a group, or passed over.
    ///   - window: what the shared window holds at this moment.
    ///   - room: groups that may still be put in flight; so many pages are worth having.
    package func nextRead(after cursor: EventID, window: EventWindow, room: Int) -> Read? {
        let after = max(cursor, arriving ?? pages.last?.through ?? cursor)
        guard reading == nil, pages.count + (arriving == nil ? 0 : 1) < room, !window.covers(after: after) else { return nil }
        var read = Read(after: after, through: window.end)
        read.turn = turn
        return read
    }

    /// The read was begun.
    package mutating func began(_ read: Read) { reading = read }

    /// The read came back, complete up to `through`; its page follows with ``add(_:)``.
    package mutating func returned(_ read: Read, through: EventID) {
        guard reading == read else { return }
        reading = nil
        arriving = through
    }

    /// The read failed; the next one asks for the same again.
    package mutating func failed(_ read: Read) { if reading == read { reading = nil } }

    /// The page of the read that came back last.
    package mutating func add(_ page: EventPage) {
        guard arriving == page.through else { return }
        arriving = nil
        pages.append(page)
    }

    /// Gives up what has been read, and the read under way; it is read again from the cursor.
    package mutating func clear() {
        pages = []
        reading = nil
        arriving = nil
        turn += 1
    }
}
