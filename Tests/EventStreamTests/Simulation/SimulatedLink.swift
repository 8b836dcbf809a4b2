import EventStream

/// A connection between a receiver and a pusher: messages in order both ways, until it is cut.
final class SimulatedLink {
    enum Call { case register, ready, stop }
    enum Outcome { case done, busy, failed }

    enum ToPusher {
        case call(Call, rid: Int)
        case answer(rid: UInt64, isGood: Bool)
    }

    enum ToReceiver {
        case answer(rid: Int, Outcome)
        /// - Parameter session: for receivers that keep their name, and so have to tell sessions apart.
        case events(sequence: UInt64, [SimulatedQueue.Row], rid: UInt64, session: Int64)
    }

    /// What the pusher knows the peer by; a receiver may use the same over several connections.
    let peer: Int
    let consumer: Int
    let types: [Bool]
    let pusher: Int
    weak var receiver: SimulatedReceiver?
    /// The handshake is done.
    var isUp = false
    /// Either side has closed it; the other hears of it later.
    var isCutByReceiver = false
    var isCutByPusher = false
    /// The pusher has been told.
    var isNoticed = false
    var toPusher: [ToPusher] = []
    var toReceiver: [ToReceiver] = []

    init(peer: Int, receiver: SimulatedReceiver, types: [Bool], pusher: Int) {
        self.peer = peer
        self.receiver = receiver
        self.types = types
        self.pusher = pusher
        consumer = receiver.consumer
    }

    var isCut: Bool { isCutByReceiver || isCutByPusher }
}
