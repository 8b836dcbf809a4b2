import EventStream

@testable import EventStreamServer

/// A connection between a receiver and a pusher: messages in order both ways, until it is cut.
final class SimulatedLink {
    enum Outcome {
        case done(RawJSON)
        case busy, failed
        /// The database has not given a token out.
        case unknown
        var isDone: Bool { if case .done = self { true } else { false } }
    }

    enum ToPusher {
        case call(Call, rid: Int)
        case answer(rid: UInt64, GroupAnswer)
    }

    enum ToReceiver {
        case answer(rid: Int, Outcome)
        /// - Parameter session: for receivers that keep their name, and so have to tell sessions apart.
        case events(SimulatedCall, session: Int64)
    }

    /// What the pusher knows the peer by; a receiver may use the same over several connections.
    let peer: Int
    let identity: [UInt8]
    let pusher: Int
    private let caller: Caller
    weak var receiver: SimulatedClient?
    /// The handshake is done.
    var isUp = false
    /// Either side has closed it; the other hears of it later.
    var isCutByReceiver = false
    var isCutByPusher = false
    /// The pusher has been told.
    var isNoticed = false
    var toPusher: [ToPusher] = []
    var toReceiver: [ToReceiver] = []

    /// - Parameter number: of the connection; none comes twice.
    init(peer: Int, number: Int, receiver: SimulatedClient, pusher: Int) {
        self.peer = peer
        self.receiver = receiver
        self.pusher = pusher
        identity = Array("peer \(peer)".utf8)
        caller = Caller(
            user: .init(name: "local", rights: .all), connection: Int32(number), id: PeerID(number: UInt64(number), key: nil))
    }

    /// The peer as the pusher knows it when a message comes over this link.
    var asPeer: Peer { Peer(identity: identity, hasDelimiter: false, caller: caller) }

    var isCut: Bool { isCutByReceiver || isCutByPusher }
}
