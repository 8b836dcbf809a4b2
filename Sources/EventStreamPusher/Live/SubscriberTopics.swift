package import EventStream

/// What a subscriber of the live broadcast has asked for, and what it gets of that.
///
/// A subscription is a prefix (protocol, section 6), so a user who may see `ORDER` but not `ORDER_PAID` would get both by
/// subscribing to either. Whoever may not see every type therefore gets its types one by one, and not those that are a prefix
/// of a type that exists and that it may not see. A user who may see `ORDER_*` gets that prefix as it is.
package struct SubscriberTopics: Hashable, Sendable {
    /// The types its user may see.
    package let types: EventFilter
    /// The prefixes asked for.
    package private(set) var asked: Set<[UInt8]> = []

    /// Prefixes one subscriber may ask for, one longer than any event type counting for several; more are not plausible, and
    /// libzmq keeps each.
    package static let limit = 256
    private var weight = 0

    package init(types: EventFilter) { self.types = types }

    /// - Returns: false if it has asked for too much.
    package mutating func subscribe(_ prefix: [UInt8]) -> Bool {
        guard !asked.contains(prefix) else { return true }
        weight += SubscriberTopics.weight(prefix)
        guard weight <= SubscriberTopics.limit else { return false }
        asked.insert(prefix)
        return true
    }

    package mutating func unsubscribe(_ prefix: [UInt8]) {
        if asked.remove(prefix) != nil { weight -= SubscriberTopics.weight(prefix) }
    }

    private static func weight(_ prefix: [UInt8]) -> Int { max(1, (prefix.count + 15) / 16) }

    /// The prefixes it is given.
    ///
    /// - Parameter known: the types there are, as far as they are known.
    package func given(known: Set<EventType>) -> Set<[UInt8]> {
        guard let mine = types.types else { return asked }
        let hidden = known.filter { !types.wants($0) }.map(\.utf8)
        let singly = mine.map(\.utf8).filter { type in
            asked.contains { type.starts(with: $0) } && !hidden.contains { $0.starts(with: type) }
        }
        // What begins like a prefix it may see whole.
        let prefixes = types.prefixes.map(\.utf8).flatMap { prefix in
            asked.compactMap { prefix.starts(with: $0) ? prefix : $0.starts(with: prefix) ? $0 : nil }
        }
        return Set(singly + prefixes)
    }

    /// Whether an event of this type would reach it by one of these prefixes, though its user may not see it.
    package func isBetrayed(by type: EventType, given: Set<[UInt8]>) -> Bool {
        !types.wants(type) && given.contains { type.utf8.starts(with: $0) }
    }
}
