/// Bounds the bytes that wait to be sent, whatever the number of peers, their speed and the size of events.
///
/// A peer that takes what it gets has nothing waiting most of the time; one that is slow or stuck does. So the last half
/// of the budget is for peers with nothing waiting. Those that are stuck take one message each out of it at the most;
/// when many do, the server must cut their connections.
public struct SendBudget: Hashable, Sendable {
    /// Bytes that may wait, all peers together; a single larger message goes when nothing else waits.
    public let limit: Int

    /// Where only small messages are sent.
    public static let unlimited = SendBudget(limit: .max / 2)

    /// - Parameter limit: more than zero.
    public init(limit: Int) { self.limit = limit }

    /// Whether a message may be handed over for a peer.
    ///
    /// - Parameters:
    ///   - bytes: the message's.
    ///   - waiting: bytes that wait for the same peer already.
    ///   - total: bytes that wait for all of them.
    public func allows(_ bytes: Int, waiting: Int, total: Int) -> Bool {
        if total == 0 { return true }
        return total + bytes <= (waiting == 0 ? limit : limit / 2)
    }
}
