import EventStream

/// Keys whose events wait behind a parked event (protocol, section 8.3).
///
/// An event of such a key is parked, too, before anything that follows it is sent: a receiver that drops what is older than the newest
/// event it has processed must not get it later as an event of the stream. A key is unblocked once none of its events is parked.
struct Followers {
    private(set) var keys: EventKeySet
    /// Parked ahead of the position; and those of them whose parked rows are gone: they are not to come as events of the stream, too.
    private var ahead: [(id: EventID, key: String)] = []
    private(set) var done = EventIDSet()
    private var doneIDs: [EventID] = []
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

    /// - Parameters:
    ///   - events: were parked, the next ones of their keys.
    ///   - position: what comes up to here never comes again in this session.
    mutating func parked(_ events: some Collection<Event>, position: EventID) {
        ahead.removeAll { $0.id <= position }
        for event in events {
            parked = max(parked, event.id)
            if let key = event.key { ahead.append((event.id, key)) }
        }
    }

    /// An event of this key is parked from now on; of what follows nothing is.
    mutating func block(_ key: String) {
        guard areKept else { return }
        keys.insert(key)
        parked = .none
    }

    /// No event of this key is parked any more.
    mutating func unblock(_ key: String, position: EventID) {
        keys.remove(key)
        doneIDs.append(contentsOf: ahead.lazy.filter { $0.key == key }.map(\.id))
        doneIDs = Set(doneIDs.filter { $0 > position }).sorted()
        done = EventIDSet(doneIDs.map { $0...$0 })
        ahead.removeAll { $0.key == key }
    }
}
