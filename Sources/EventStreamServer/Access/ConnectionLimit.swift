import DequeModule

/// Keeps the connections of a socket within a number: beyond it the oldest that nothing has been heard of has to go, and
/// if there is none, the newest. So a crowd that says nothing does not keep out those who have something to say.
package struct ConnectionLimit: Sendable {
    private let limit: Int
    private let silentLimit: Int
    private var open: Set<Int32> = []
    /// Those not heard of, with a number that tells a descriptor's uses apart.
    package private(set) var silent: [Int32: UInt64] = [:]
    private var order: Deque<(connection: Int32, use: UInt64)> = []
    private var uses: UInt64 = 0

    /// - Parameters:
    ///   - limit: at least 1.
    ///   - silent: of them nothing may have been heard yet.
    package init(_ limit: Int, silent: Int = .max) { (self.limit, silentLimit) = (max(limit, 1), silent) }

    package var count: Int { open.count }

    /// - Returns: the connection to be cut, if one is too many.
    package mutating func connected(_ connection: Int32) -> Int32? {
        open.insert(connection)
        uses += 1
        silent[connection] = uses
        order.append((connection, uses))
        if order.count > 2 * silent.count + 64 { order.removeAll { silent[$0.connection] != $0.use } }
        guard open.count > limit || silent.count > silentLimit else { return nil }
        while let oldest = order.popFirst() {
            guard silent[oldest.connection] == oldest.use else { continue }
            silent[oldest.connection] = nil
            return oldest.connection
        }
        return connection
    }

    /// Something came over it.
    package mutating func heard(_ connection: Int32) { silent[connection] = nil }

    package mutating func disconnected(_ connection: Int32) {
        open.remove(connection)
        silent[connection] = nil
    }
}
