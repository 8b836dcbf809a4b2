import EventStream

/// The connections of a socket: which there are, and whether a message is of one of them.
///
/// What a peer has sent can be received after it has gone, and its descriptor be another's by then: peers are told apart by the
/// number they were admitted with.
package struct Connections {
    private var limit: ConnectionLimit
    /// How many peers had been admitted when each connection was made.
    private var admittedBefore: [Int32: UInt64] = [:]

    /// Connections of which nothing was heard yet, at most: they hold what libzmq gives them, such as routing ids.
    private static let silent = 1000

    package init(limit: Int) { self.limit = ConnectionLimit(limit, silent: Connections.silent) }

    package var count: Int { admittedBefore.count }
    package var all: some Collection<Int32> { admittedBefore.keys }
    /// Those over which nothing came, with a number that tells a descriptor's uses apart.
    package var unheard: [Int32: UInt64] { limit.silent }

    /// - Returns: the connection to be cut, if one is too many.
    package mutating func connected(_ connection: Int32, after admitted: UInt64) -> Int32? {
        admittedBefore[connection] = admitted
        return limit.connected(connection)
    }

    /// - Returns: whether nothing had been heard over it although its peer may have been admitted.
    @discardableResult
    package mutating func disconnected(_ connection: Int32, after admitted: UInt64) -> Bool {
        defer { limit.disconnected(connection) }
        return admittedBefore.removeValue(forKey: connection).map { admitted > $0 } ?? false && limit.silent[connection] != nil
    }

    /// Something came over it that is of use.
    package mutating func heard(_ connection: Int32) { limit.heard(connection) }

    /// Whether a message was sent over the connection that has the descriptor now.
    package func isPresent(_ connection: Int32, _ id: PeerID) -> Bool {
        admittedBefore[connection].map { id.number > $0 } ?? false
    }
}
