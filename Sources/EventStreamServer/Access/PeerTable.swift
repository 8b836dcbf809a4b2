import EventStream
import LibZMQ

/// A peer of a ROUTER socket: who it is, and how it frames its messages.
package struct Peer {
    package let identity: [UInt8]
    /// Whether an empty frame precedes the payload, as REQ sockets send it; answers do the same.
    package let hasDelimiter: Bool
    package let caller: Caller

    package init(identity: [UInt8], hasDelimiter: Bool, caller: Caller) {
        (self.identity, self.hasDelimiter, self.caller) = (identity, hasDelimiter, caller)
    }

    package var user: String { caller.user.name }
    package var account: Account { caller.account }

    package func frames(_ payload: [UInt8]) -> [[UInt8]] { hasDelimiter ? [identity, [], payload] : [identity, payload] }
}

/// The peers of a server's socket: who they are, over which connection each was heard last, and what each has asked for.
final class PeerTable {
    private struct AccountState {
        let waiting = ByteGauge()
        var meter: RateMeter
        var connections = 0
    }

    private let rate: Int
    private var callers: [Int32: Caller] = [:]
    private var peersByConnection: [Int32: Set<[UInt8]>] = [:]
    private var connectionByPeer: [[UInt8]: Int32] = [:]
    private var waitingByPeer: [[UInt8]: ByteGauge] = [:]
    private var accounts: [Account: AccountState] = [:]

    init(rate: Int) { self.rate = rate }

    // MARK: Connections

    var all: some Collection<Caller> { callers.values }

    /// Who was heard over a connection last.
    func caller(on connection: Int32) -> Caller? { callers[connection] }

    /// - Parameter name: what the message carries.
    func caller(on connection: Int32, named name: String?) -> Caller? {
        guard let caller = callers[connection], caller.name == name else { return nil }
        return caller
    }

    /// Somebody is heard over a connection for the first time.
    func arrived(_ caller: Caller) {
        left(callers[caller.connection])
        callers[caller.connection] = caller
        accounts[caller.account, default: AccountState(meter: RateMeter(rate: rate, at: .now))].connections += 1
    }

    /// A connection is no more.
    ///
    /// - Returns: the routing ids of the peers that were heard over it last.
    func left(_ connection: Int32) -> [[UInt8]] {
        left(callers.removeValue(forKey: connection))
        let peers = (peersByConnection.removeValue(forKey: connection) ?? []).filter { connectionByPeer[$0] == connection }
        for identity in peers {
            connectionByPeer[identity] = nil
            waitingByPeer[identity] = nil
        }
        return Array(peers)
    }

    private func left(_ caller: Caller?) {
        guard let caller else { return }
        accounts[caller.account]?.connections -= 1
        // What a user has asked for is remembered; there are not more of them than the keys name.
        if case .connection = caller.account { accounts[caller.account] = nil }
    }

    // MARK: Peers

    func connection(of identity: [UInt8]) -> Int32? { connectionByPeer[identity] }

    /// Where a routing id has been heard now.
    func heard(_ peer: Peer) {
        let connection = peer.caller.connection
        if let old = connectionByPeer.updateValue(connection, forKey: peer.identity), old != connection {
            peersByConnection[old]?.remove(peer.identity)
        }
        peersByConnection[connection, default: []].insert(peer.identity)
        if waitingByPeer[peer.identity] == nil { waitingByPeer[peer.identity] = ByteGauge() }
    }

    /// Whether the routing id is still this user's, with the same rights. It may have become another's in the meantime.
    func isStillThere(_ peer: Peer) -> Bool {
        guard let present = connectionByPeer[peer.identity].flatMap({ callers[$0] }) else { return false }
        return present === peer.caller || present.user == peer.caller.user
    }

    // MARK: What they ask for

    func verdict(on caller: Caller) -> RateMeter.Verdict {
        accounts[caller.account]?.meter.verdict(at: .now) ?? .allowed
    }

    @discardableResult
    func charge(_ caller: Caller) -> RateMeter.Verdict { accounts[caller.account]?.meter.charge(at: .now) ?? .allowed }

    func connections(of account: Account) -> Int { accounts[account]?.connections ?? 0 }

    // MARK: What waits to be sent

    func gauges(of peer: Peer) -> [ByteGauge] {
        [waitingByPeer[peer.identity], accounts[peer.account]?.waiting].compactMap { $0 }
    }

    func waiting(for peer: Peer) -> Int { waitingByPeer[peer.identity]?.bytes ?? 0 }
    func waiting(for account: Account) -> Int { accounts[account]?.waiting.bytes ?? 0 }

    /// Whether somebody has more than so much waiting.
    func hasMuchWaiting(_ bytes: Int) -> Bool { accounts.values.contains { $0.waiting.bytes > bytes } }

    /// The connections to which something waits to be sent.
    var behind: some Sequence<Int32> {
        peersByConnection.lazy.filter { $0.value.contains { (self.waitingByPeer[$0]?.bytes ?? 0) > 0 } }.map(\.key)
    }
}
