import DequeModule
import EventStream
import EventStreamServer
import LibZMQ

/// What the live broadcast holds back while too much waits, and who is to blame. Pure: what is so goes in, a decision comes out.
struct BroadcastBacklog {
    /// Bytes that may wait, all subscribers together.
    private let byteLimit: Int
    /// Bytes that may be held back before the oldest are dropped.
    private let holdLimit: Int
    /// Pages that are held back; they are in the window, too, so that holding them takes no memory of its own.
    private var held: Deque<EventPage> = []
    private var heldBytes = 0
    /// Of what was broadcast.
    private var newest = EventID.none
    private var stuck = StuckConnections<PeerConnection>(looks: 21)
    private var nextLook: MonotonicTime?

    init(byteLimit: Int, holdLimit: Int) { (self.byteLimit, self.holdLimit) = (byteLimit, holdLimit) }

    var isEmpty: Bool { held.isEmpty }

    mutating func append(_ page: EventPage) {
        held.append(page)
        heldBytes += page.byteCount
    }

    /// The events to be sent next; nil while too much waits, or if nothing is held back.
    ///
    /// - Parameter bytes: so many wait, all subscribers together.
    mutating func next(waiting bytes: Int) -> (page: EventPage, events: Range<Int>)? {
        guard bytes <= byteLimit / 2, let page = takeFirst() else { return nil }
        // After a fail-over the stream begins anew a little before where it was: subscribers get each event once, in order.
        let events = page.index(after: newest)..<page.count
        newest = max(newest, page.entries.last?.id ?? .none)
        return (page, events)
    }

    /// Whether it is time for ``look(_:)``: something is held back, and the last look was a while ago.
    mutating func isLookDue(at now: MonotonicTime) -> Bool {
        guard !held.isEmpty, nextLook.map({ $0 <= now }) ?? true else { return false }
        nextLook = now + .milliseconds(50)
        return true
    }

    /// Something is held back, and this is how the connections stand.
    ///
    /// - Returns: those to be disconnected, which are stuck or, if much is held back, the slowest; and how many events, the oldest,
    ///   are lost to all.
    mutating func look(_ unsent: [PeerConnection: Int]) -> (slow: [PeerConnection], dropped: Int) {
        var slow = stuck.look(unsent)
        if slow.isEmpty, heldBytes > holdLimit / 2, let worst = unsent.max(by: { $0.value < $1.value }), worst.value > 0 {
            slow = [worst.key]
        }
        var dropped = 0
        if heldBytes > holdLimit {
            while heldBytes > holdLimit / 2, let page = takeFirst() { dropped += page.count }
        }
        return (slow, dropped)
    }

    private mutating func takeFirst() -> EventPage? {
        guard let page = held.popFirst() else { return nil }
        heldBytes -= page.byteCount
        if held.isEmpty { stuck.forget() }
        return page
    }
}
