import EventStream
import Synchronization

/// What one listener got, in the order it came.
final class Recording: Sendable {
    struct Contents {
        var ids: [EventID] = []
        /// Where in `ids` the server let it be known that it had left events out before.
        var skips: Set<Int> = []
        var newest = EventID.none
        /// When each probe came.
        var probes: [EventID: ContinuousClock.Instant] = [:]
    }

    private let state = Mutex(Contents())

    /// - Parameter skipped: the server has left events out before these, and says so.
    func got(_ events: [Event], skipped: Bool = false) {
        let now = ContinuousClock.now
        state.withLock { state in
            if skipped { state.skips.insert(state.ids.count) }
            for event in events {
                state.ids.append(event.id)
                state.newest = max(state.newest, event.id)
                if event.type == .probe, state.probes[event.id] == nil { state.probes[event.id] = now }
            }
        }
    }

    var count: Int { state.withLock { $0.ids.count } }
    var newest: EventID { state.withLock { $0.newest } }
    var contents: Contents { state.withLock { $0 } }
}
