/// A message has at most 8 MiB (protocol, section 3).
///
/// The database checks ``events`` itself: another limit needs a step of the schema.
package enum MessageLimit {
    /// Bytes of a message at most.
    private static let message = 8 << 20
    /// Bytes of its events, or of the data of a single event, at most: the rest is for what is around them.
    package static let events = message - 4096
}

/// How much one group may hold.
package struct GroupLimits: Hashable, Sendable {
    /// Events; 1 to 1000 (FTN18 3.1, EventList).
    package var events: Int
    /// Bytes of the EventList; a single larger event still goes, alone.
    package var bytes: Int

    package init(events: Int, bytes: Int) {
        self.events = events
        self.bytes = bytes
    }

    /// As much as a message holds.
    package static let largest = GroupLimits(events: 1000, bytes: MessageLimit.events)
}
