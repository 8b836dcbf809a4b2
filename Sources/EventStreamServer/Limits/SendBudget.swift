/// Bounds the bytes that wait to be sent, whatever the number of peers, their speed and the size of events.
///
/// A peer that takes what it gets has little or nothing waiting most of the time; one that is slow or stuck has much. So
/// the first half of the budget is for anyone, the next quarter for peers with nothing waiting, and the last for those with
/// little, however large what others have waiting. Many stuck peers can still use it up, a little each: then the server
/// must cut their connections.
package struct SendBudget: Hashable, Sendable {
    /// Bytes that may wait, all peers together; a single larger message goes when nothing else waits.
    package let limit: Int
    /// What a peer may have waiting to count as one with little.
    package var little: Int { limit / 256 }

    /// - Parameter limit: at least 256.
    package init(limit: Int) { self.limit = limit }

    /// Whether a message may be handed over for a peer.
    ///
    /// - Parameters:
    ///   - bytes: the message's.
    ///   - waiting: bytes that wait for the same peer already.
    ///   - total: bytes that wait for all of them.
    package func allows(_ bytes: Int, waiting: Int, total: Int) -> Bool {
        if total == 0 || total + bytes <= limit / 2 { return true }
        if waiting == 0, total + bytes <= limit / 4 * 3 { return true }
        return waiting + bytes <= little && total + bytes <= limit
    }
}
