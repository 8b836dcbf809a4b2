import EventStream
import EventStreamDatabase
import LibZMQ

@testable import EventStreamPusher
@testable import EventStreamServer

/// The peers of a simulated pusher: what the pusher sends goes over links, in the wire form it has.
final class SimulatedPeers: PeerPort {
    private let surroundings: Surroundings
    private let database: SimulatedDatabase
    private let loop: SimulatedLoop
    weak var engine: PusherEngine?
    var links: [SimulatedLink] = []

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase, _ loop: SimulatedLoop) {
        self.surroundings = surroundings
        self.database = database
        self.loop = loop
    }

    func hasRoom(for bytes: Int, to peer: Peer) -> Bool { !surroundings.trouble(3) }
    func isConnected(_ peer: Peer) -> Bool { link(to: peer) != nil }
    func isCurrent(_ caller: Caller) -> Bool { true }

    /// Messages go to the newest connection under the peer's identity.
    private func link(to peer: Peer) -> SimulatedLink? {
        guard let link = links.last(where: { $0.identity == peer.identity && $0.isUp }), !link.isNoticed else { return nil }
        return link
    }

    private func send(_ message: SimulatedLink.ToReceiver, to peer: Peer) -> SendOutcome {
        guard let link = link(to: peer) else { return .unreachable }
        guard !surroundings.trouble(surroundings.fullQueuesInHundred) else { return .full }
        if !link.isCut { link.toReceiver.append(message) }
        return .sent
    }

    func answer(_ peer: Peer, _ response: WireMessage.Response) -> SendOutcome {
        guard let rid = response.rid?.number else { return .sent }
        let outcome: SimulatedLink.Outcome
        switch response.outcome {
        case .success(let result): outcome = .done(result)
        case .failure(let error):
            switch error.name {
            case "ConsumerBusy": outcome = .busy
            case "ArchiveUnknown": outcome = .unknown
            default: outcome = .failed
            }
        }
        return send(.answer(rid: Int(rid), outcome), to: peer)
    }

    func send(_ peer: Peer, _ payload: [UInt8]) -> SendOutcome {
        guard let call = SimulatedCall(payload) else {
            surroundings.broken("no call of onEvents: \(String(decoding: payload, as: UTF8.self))")
            return .sent
        }
        let session = engine?.services.table.sessions(of: peer.identity).first as? ReliableSession
        let epoch = session?.machine.epoch ?? 0
        let outcome = send(.events(call, session: epoch), to: peer)
        guard outcome == .sent, let session, let last = call.rows.last?.id else { return outcome }
        surroundings.note("\(session.consumer) gets seq \(call.sequence), \(call.rows.map(\.id)), rid \(call.rid)")
        database.oracle.sent(last, to: SimulatedDatabase.consumer(session.consumer), epoch: epoch)
        if surroundings.fault == .positionBeforeAnswer {
            loop.soon { [weak engine] in
                _ = engine?.calls.answered(.init(outcome: .success(.true), rid: .server(call.rid)), by: peer)
            }
        }
        return outcome
    }
}

/// A call of onEvents, read at little cost: whatever else is in it is noticed.
struct SimulatedCall {
    let sequence: UInt64
    /// As the pusher tells it; nil in sessions without partial processing.
    let session: Int64?
    let isParked: Bool
    let rows: [SimulatedQueue.Row]
    let rid: UInt64

    private static let head = Array("{\"f\":\"futoin.evt.receiver:1.1:onEvents\",\"p\":{\"seq\":".utf8)
    private static let session = Array(",\"session\":".utf8)
    private static let parked = Array(",\"parked\":true".utf8)
    private static let events = Array(",\"events\":".utf8)
    private static let rid = Array("},\"rid\":\"S".utf8)
    private static let tail = Array("\"}".utf8)

    init?(_ payload: [UInt8]) {
        var rest = payload[...]
        guard rest.starts(with: SimulatedCall.head) else { return nil }
        rest = rest.dropFirst(SimulatedCall.head.count)
        guard let sequence = SimulatedCall.number(&rest) else { return nil }
        var session: UInt64?
        if rest.starts(with: SimulatedCall.session) {
            rest = rest.dropFirst(SimulatedCall.session.count)
            session = SimulatedCall.number(&rest)
            guard session != nil else { return nil }
        }
        isParked = rest.starts(with: SimulatedCall.parked)
        if isParked { rest = rest.dropFirst(SimulatedCall.parked.count) }
        guard rest.starts(with: SimulatedCall.events) else { return nil }
        rest = rest.dropFirst(SimulatedCall.events.count)
        guard rest.suffix(2) == SimulatedCall.tail[...], let quote = rest.dropLast(2).lastIndex(of: UInt8(ascii: "S")),
            rest[..<(quote + 1)].suffix(SimulatedCall.rid.count) == SimulatedCall.rid[...],
            let rows = SimulatedEvent.rows(of: Array(rest[..<(quote + 1)].dropLast(SimulatedCall.rid.count)))
        else { return nil }
        rest = rest[(quote + 1)...]
        guard let rid = SimulatedCall.number(&rest) else { return nil }
        (self.sequence, self.session, self.rows, self.rid) = (sequence, session.map { Int64($0) }, rows, rid)
    }

    private static func number(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        let digits = bytes.prefix { $0 &- 48 < 10 }
        for digit in digits { value = value * 10 + UInt64(digit - 48) }
        bytes = bytes.dropFirst(digits.count)
        return digits.isEmpty ? nil : value
    }
}
