package import EventStream

/// Positions waiting to be stored: many answers become one write.
package struct PositionBook: Sendable {
    package struct Entry: Hashable, Sendable {
        package let consumer: ConsumerIdentity
        /// The fencing token of the session the position comes from.
        package let epoch: Int64
        package let position: EventID

        package init(consumer: ConsumerIdentity, epoch: Int64, position: EventID) {
            self.consumer = consumer
            self.epoch = epoch
            self.position = position
        }
    }

    private var dirty: [ConsumerIdentity: Entry] = [:]
    private var storing: [ConsumerIdentity: Entry] = [:]

    package init() {}

    package var isEmpty: Bool { dirty.isEmpty && storing.isEmpty }
    package var hasUnsent: Bool { !dirty.isEmpty }

    /// A position moved. Of one session only forward moves count.
    package mutating func note(_ consumer: ConsumerIdentity, epoch: Int64, position: EventID) {
        if let known = dirty[consumer], known.epoch == epoch, known.position >= position { return }
        dirty[consumer] = Entry(consumer: consumer, epoch: epoch, position: position)
    }

    /// What to store now; empty while a write is under way.
    package mutating func take() -> [Entry] {
        guard storing.isEmpty else { return [] }
        storing = dirty
        dirty = [:]
        return storing.values.sorted { $0.consumer.description < $1.consumer.description }
    }

    /// The write ended.
    ///
    /// - Parameter done: the consumers whose position was stored, or may not be stored any more; the others are tried
    ///   again.
    package mutating func finished(_ done: Set<ConsumerIdentity>) {
        for (consumer, entry) in storing where !done.contains(consumer) {
            if dirty[consumer] == nil { dirty[consumer] = entry }
        }
        storing = [:]
    }

    /// Whether this consumer has a position that is not stored yet.
    package func isPending(_ consumer: ConsumerIdentity) -> Bool { dirty[consumer] != nil || storing[consumer] != nil }

    /// What waits to be stored for a consumer, or is being stored: the newest.
    package func entry(of consumer: ConsumerIdentity) -> Entry? { dirty[consumer] ?? storing[consumer] }

    /// What is known to be confirmed for a consumer: this, or what waits to be stored, whichever is of the later session, or further.
    package func newest(_ known: Entry?, of consumer: ConsumerIdentity) -> Entry? {
        [known, dirty[consumer], storing[consumer]].compactMap { $0 }.max { ($0.epoch, $0.position) < ($1.epoch, $1.position) }
    }

    /// This was stored, or may not be stored any more, and with it all that came before.
    package mutating func forget(_ entry: Entry) {
        guard let known = dirty[entry.consumer], (known.epoch, known.position) <= (entry.epoch, entry.position) else { return }
        dirty[entry.consumer] = nil
    }
}
