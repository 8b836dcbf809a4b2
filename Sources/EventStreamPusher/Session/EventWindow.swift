package import DequeModule
package import EventStream

/// The newest stretch of the stream, shared by every consumer at its head.
///
/// Bounded by bytes: the oldest pages go first, and a consumer that still needed them catches up by itself.
package struct EventWindow: Sendable {
    private var pages: Deque<EventPage> = []
    private let byteLimit: Int
    package private(set) var byteCount = 0
    /// The window holds every event in (start, end].
    package private(set) var start: EventID
    package private(set) var end: EventID

    /// - Parameter byteLimit: more than zero; the newest page stays even if it alone has more.
    package init(after position: EventID, byteLimit: Int) {
        start = position
        end = position
        self.byteLimit = byteLimit
    }

    /// Whether everything past `id` that is settled is here.
    package func covers(after id: EventID) -> Bool { id >= start }

    /// Adds the page that follows.
    package mutating func append(_ page: EventPage) {
        guard page.through > end else { return }
        end = page.through
        if page.count > 0 {
            pages.append(page)
            byteCount += page.byteCount
        }
        while byteCount > byteLimit, pages.count > 1, let oldest = pages.popFirst() {
            byteCount -= oldest.byteCount
            start = oldest.through
        }
    }

    /// The pages that have something past `id`, in order.
    package func pages(after id: EventID) -> Deque<EventPage>.SubSequence {
        var (low, high) = (0, pages.count)
        while low < high {
            let middle = (low + high) / 2
            if pages[middle].through <= id { low = middle + 1 } else { high = middle }
        }
        return pages[low...]
    }
}
