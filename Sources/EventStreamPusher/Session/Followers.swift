import EventStream

/// Keys whose events wait behind a parked event (protocol, section 8.3).
///
/// An event of such a key is parked, too, before anything that follows it is sent: a receiver that drops what is older than the newest
/// event it has processed must not get it later as an event of the stream. A key is unblocked once none of its events is parked.
struct Followers {
    private(set) var keys: EventKeySet
    /// Up to here the events of these keys are parked.
    private(set) var parked = EventID.none
    /// Whether events wait behind a parked one at all.
    private let areKept: Bool

    /// - Parameter keys: of which events are parked; nil if events wait for none.
    init(keys: [String]?) {
        self.keys = EventKeySet(keys ?? [])
        areKept = keys != nil
    }

    /// The events left out of a group that are to be parked before the group is sent.
    func due(in group: EventGroup) -> [Event] {
        guard let last = group.lastLeftOut, last > parked else { return [] }
        return group.leftOut.filter { $0.id > parked }
    }

    mutating func parked(through id: EventID) { parked = max(parked, id) }

    /// An event of this key is parked from now on; of what follows nothing is.
    mutating func block(_ key: String) {
        guard areKept else { return }
        keys.insert(key)
        parked = .none
    }

    /// No event of this key is parked any more.
    mutating func unblock(_ key: String) { keys.remove(key) }
}
