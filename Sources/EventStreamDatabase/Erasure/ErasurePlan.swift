package import EventStream

/// An event whose data is to be erased, or was.
///
/// Its id alone does not say which event it is: after a fail-over a later generation may have given the id again.
package struct ErasedEvent: Hashable, Sendable {
    package let id: EventID
    package let type: String
    /// UTC, exactly, as SQL reads it: `2026-11-24 08:30:00.123456`.
    package let time: String

    package init(id: EventID, type: String, time: String) { (self.id, self.type, self.time) = (id, type, time) }
}

/// What erasing the data of some events would reach: decided from where they were found.
package struct ErasurePlan: Sendable {
    package enum Place: String, Hashable, Comparable, CaseIterable, Sendable {
        case table = "active table"
        case parked
        case archive
        /// In the archive's table of events that were moved out of the history.
        case aside = "set aside"

        package static func < (a: Self, b: Self) -> Bool { a.order < b.order }
        private var order: Int { Place.allCases.firstIndex(of: self)! }
    }

    /// In the order of ids; several of one id are different events, and the data of each goes.
    package let events: [(event: ErasedEvent, places: [Place])]
    /// Ids under which there is no event anywhere.
    package let missing: [EventID]

    package init(_ ids: [EventID], found: [(place: Place, event: ErasedEvent)]) {
        let places = Dictionary(grouping: found, by: \.event).mapValues { Set($0.map(\.place)).sorted() }
        events = places.map { ($0.key, $0.value) }.sorted {
            ($0.event.id, $0.event.time, $0.event.type) < ($1.event.id, $1.event.time, $1.event.type)
        }
        let known = Set(places.keys.map(\.id))
        missing = Set(ids).subtracting(known).sorted()
    }
}
