package import EventStream
import LibPQ

/// How much libzmq has received of each connection and not handed over yet, as far as can be told from outside.
///
/// Its own limit, the high-water mark, is no use: a connection that breaks while it is held up by it ends the process (libzmq
/// 4.3.4 and 4.3.5, `stream_engine_base.cpp`: "Assertion failed: !_io_error"). So everything is taken in, and who has too much
/// here is cut, messages that are never completed included. What a connection has received, the system tells; what was handed
/// over is counted; the little that the count does not know, such as heartbeats, is learned while nothing else is left.
package struct InboundBacklog: Sendable {
    private struct Connection: Sendable {
        var taken = 0
        var messages = 0
        /// Received and never handed over, as far as is known.
        var difference = 0
        var learned: MonotonicTime
    }

    /// Bytes of memory a message takes in libzmq besides its contents.
    private static let overhead = 80
    /// What may come besides messages: at first, with the handshake, and in a second.
    private static let (handshake, heartbeats) = (4096.0, 2048.0)

    private let limit: Int
    private var connections: [Int32: Connection] = [:]

    /// - Parameter limit: bytes that may wait, all connections together.
    package init(limit: Int) { self.limit = limit }

    package var isEmpty: Bool { connections.isEmpty }

    package mutating func connected(_ connection: Int32, at now: MonotonicTime) {
        connections[connection] = Connection(learned: now - .seconds(InboundBacklog.handshake / InboundBacklog.heartbeats))
    }

    package mutating func disconnected(_ connection: Int32) { connections[connection] = nil }

    /// A message was handed over.
    ///
    /// - Parameter bytes: on the wire.
    package mutating func took(_ bytes: Int, from connection: Int32) {
        connections[connection]?.taken += bytes
        connections[connection]?.messages += 1
    }

    /// Looks at every connection.
    ///
    /// - Parameters:
    ///   - isDrained: whether no whole message is left to be handed over.
    ///   - received: bytes the system has received over a connection; nil where it does not tell.
    /// - Returns: those to be cut, the largest first, so that the rest is within the limit.
    package mutating func look(at now: MonotonicTime, isDrained: Bool, received: (Int32) -> Int?) -> [Int32] {
        var (estimates, total): ([(connection: Int32, bytes: Int)], Int) = ([], 0)
        for (number, var connection) in connections {
            guard let bytes = received(number) else { continue }
            let uncounted = bytes - connection.taken
            connection.difference = min(connection.difference, uncounted)
            if isDrained {
                let credit = Int((now - connection.learned) / .seconds(1) * InboundBacklog.heartbeats)
                connection.difference += min(uncounted - connection.difference, credit)
                connection.learned = now
            }
            connections[number] = connection
            let behind = uncounted - connection.difference
            guard behind > 0 else { continue }
            // Small messages take more memory than they have bytes. Where none was handed over it may be one large one, or many.
            let size = connection.messages == 0 ? 64 : max(1, connection.taken / connection.messages)
            let estimate = behind + behind / size * InboundBacklog.overhead
            estimates.append((number, estimate))
            total += estimate
        }
        var excess: [Int32] = []
        for (connection, bytes) in estimates.sorted(by: { $0.bytes > $1.bytes }) where total > limit {
            excess.append(connection)
            total -= bytes
        }
        return excess
    }
}
