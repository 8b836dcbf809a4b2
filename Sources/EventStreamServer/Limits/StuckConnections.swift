import LibPQ

/// Finds the connections whose peers take nothing, among many that share one bound.
///
/// What a peer has not taken shows in the system's queue for its connection. A queue that is not empty and does not move
/// over several looks belongs to one that is stuck: those that are merely behind take something now and then.
package struct StuckConnections<Connection: Hashable & Sendable>: Sendable {
    private let looksNeeded: Int
    private var still: [Connection: (unsent: Int, looks: Int)] = [:]

    /// - Parameter looks: how often in a row a queue must be found the same; at least 2.
    package init(looks: Int) { looksNeeded = looks }

    /// Too much waits, and this is how the connections stand.
    ///
    /// - Returns: those that are stuck, to be ended.
    package mutating func look(_ unsent: [Connection: Int]) -> [Connection] {
        var next: [Connection: (unsent: Int, looks: Int)] = [:]
        for (connection, bytes) in unsent where bytes > 0 {
            let before = still[connection]
            next[connection] = (bytes, before?.unsent == bytes ? (before?.looks ?? 0) + 1 : 1)
        }
        let stuck = next.filter { $0.value.looks >= looksNeeded }.map(\.key)
        for connection in stuck { next[connection] = nil }
        still = next
        return stuck
    }

    /// There is room again.
    package mutating func forget() { still = [:] }
}
