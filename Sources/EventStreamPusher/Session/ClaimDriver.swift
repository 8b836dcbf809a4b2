import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

/// Who gets a consumer's session: carries out what ``ClaimQueue`` decides.
final class ClaimDriver {
    private let loop: any LoopPort
    private let head: HeadDriver
    private let table: SessionTable
    private let outbox: Outbox
    private let membership: Membership
    private let reads: EventReads
    private let positions: PositionWriter
    private let sessions: SessionDriver
    private let turns: CallTurns
    /// Sessions a user may have at this pusher.
    let userLimit: Int
    /// What else is set aside with an event.
    private let parking: Parking
    private var claims = ClaimQueue<ConsumerIdentity, SessionStart>()
    private var isStopped = false

    init(
        userLimit: Int, parking: Parking, loop: any LoopPort, head: HeadDriver, table: SessionTable, outbox: Outbox,
        membership: Membership,
        reads: EventReads, positions: PositionWriter, sessions: SessionDriver, turns: CallTurns
    ) {
        self.userLimit = userLimit
        self.parking = parking
        self.loop = loop
        self.head = head
        self.table = table
        self.outbox = outbox
        self.membership = membership
        self.reads = reads
        self.positions = positions
        self.sessions = sessions
        self.turns = turns
    }

    /// Nobody gets an answer any more.
    func stop() {
        isStopped = true
        claims = .init()
    }

    func isUnderWay(_ consumer: ConsumerIdentity) -> Bool { claims.isUnderWay(consumer) }

    /// - Returns: the very session that is asked for, if the peer has it: it goes on.
    func goesOn(_ start: SessionStart) -> Session? {
        guard let present = table.session(of: start.peer, start.component), present.want == start.want,
            present.fields == start.fields, present.isPartial == start.isPartial, present.mayPark == start.mayPark,
            !claims.isUnderWay(start.consumer)
        else { return nil }
        if let present = present as? ReliableSession, present.machine.isReleased { return nil }
        return present
    }

    func readyToReceive(_ start: SessionStart) throws(EventStreamError) {
        if let present = table.reliable(start.consumer), !claims.isUnderWay(start.consumer) {
            guard mayReplace(present, start) else { throw busyHere(start) }
            if case .resuming = present.machine.state {
                guard present.afterResuming.count < 100 else { throw .consumerBusy("\(start.consumer) is being taken back") }
                present.afterResuming.append { [weak self] in self?.retry(start) }
                return
            }
        }
        switch claims.add(start, of: start.consumer, at: loop.now, replacing: SessionStart.merge) {
        case .begins(let pause): try claim(start, after: pause)
        // Looked at again after the claim that is under way.
        case .waits: break
        case .refused: throw .defenseRejected("too many calls for \(start.consumer) are under way; wait for the answers")
        }
    }

    /// Its own peer may, and another once the lease keeps nobody out any more.
    private func mayReplace(_ present: ReliableSession, _ start: SessionStart) -> Bool {
        present.peer.identity == start.peer.identity || !present.machine.lease.keepsOthersOut(at: loop.now)
    }

    private func busyHere(_ start: SessionStart) -> EventStreamError {
        .consumerBusy("\(start.consumer) is being served over another connection")
    }

    func tooManySessions(_ peer: Peer) -> EventStreamError { .defenseRejected("\(peer.user) has \(userLimit) sessions already") }

    /// Asks again for whoever waited.
    var retry: (SessionStart) -> Void = { _ in }

    func refuse(_ start: SessionStart, _ error: EventStreamError) {
        for call in start.calls { outbox.peers.answer(start.peer, call.rid, error) }
    }

    // MARK: A claim

    private func claim(_ start: SessionStart, after pause: Duration) throws(EventStreamError) {
        guard pause == .zero else {
            loop.after(pause) { [weak self] in
                guard let self, !self.isStopped else { return }
                do throws(EventStreamError) {
                    try self.claim(start, after: .zero)
                } catch {
                    self.refuse(start, error)
                }
            }
            return
        }
        do throws(EventStreamError) {
            try turns.inTurn(start.peer) { self.claimNow(start) }
        } catch {
            ended(start.consumer)
            throw error
        }
    }

    private func ended(_ consumer: ConsumerIdentity) { for start in claims.ended(consumer) { retry(start) } }

    /// The peer stops before its session has begun.
    func withdraw(_ component: ConsumerComponent, of peer: Peer) {
        let consumer = ConsumerIdentity(user: peer.user, component: component)
        for start in claims.withdraw(consumer, { $0.peer.identity == peer.identity && $0.peer.caller === peer.caller }) {
            end(start)
        }
    }

    /// Its session has begun and ended.
    private func end(_ start: SessionStart) { for call in start.calls { outbox.peers.answer(start.peer, call.rid, .true) } }

    private func claimNow(_ start: SessionStart) {
        // Nobody waits for the answer any more, perhaps.
        guard outbox.peers.isConnected(start.peer), !claims.isWithdrawn(start.consumer) else {
            turns.ended(start.peer)
            end(start)
            return ended(start.consumer)
        }
        guard let port = membership.consumers, let trusted = membership.trusted else {
            return claimed(start, .failure(.unreachable))
        }
        // What the session before knows to be answered, stored yet or not.
        var known: PositionBook.Entry?
        if let present = table.reliable(start.consumer) {
            // Its peer may have been heard of again meanwhile.
            guard mayReplace(present, start) else {
                turns.ended(start.peer)
                refuse(start, busyHere(start))
                return ended(start.consumer)
            }
            known = .init(consumer: start.consumer, epoch: present.machine.epoch, position: present.machine.position)
            table.remove(present)
        }
        port.claim(
            start.consumer, want: start.want, isPartial: start.isPartial,
            readsKeys: parking == .key && start.isPartial && start.mayPark, knowing: positions.newest(known, of: start.consumer),
            of: trusted.generation, dead: membership.heartbeat.dead
        ) { self.claimed(start, $0) }
    }

    /// It is known whether what follows its position can be read.
    private func looked(_ start: SessionStart, _ claimed: ConsumerStore.Claimed, _ refusal: EventStreamError?) {
        defer { ended(start.consumer) }
        guard !isStopped else { return }
        if claims.isWithdrawn(start.consumer) {
            release(start, claimed)
            end(start)
        } else if let refusal {
            release(start, claimed)
            refuse(start, refusal)
        } else {
            sessions.begin(start, claimed)
        }
    }

    private func release(_ start: SessionStart, _ claimed: ConsumerStore.Claimed) {
        positions.release(start.consumer, epoch: claimed.epoch, position: claimed.position)
    }

    private func claimed(_ start: SessionStart, _ result: Result<ConsumerStore.Claim, PostgresError>) {
        turns.ended(start.peer)
        switch result {
        case .success(.claimed(let claimed)) where claims.isWithdrawn(start.consumer):
            release(start, claimed)
            end(start)
        case .success(.claimed(let claimed)) where table.count(of: start.peer.account) >= userLimit:
            // Others of its claims were under way at the same time.
            release(start, claimed)
            refuse(start, tooManySessions(start.peer))
        case .success(.claimed(let claimed)):
            reads.saw(discarded: claimed.discarded)
            guard claimed.position < reads.discarded else {
                sessions.begin(start, claimed)
                break
            }
            let asked = membership.trusted
            return reads.refusal(after: claimed.position) { refusal in
                guard self.membership.trusted == asked else {
                    // What was claimed in another generation says nothing here; a sign of life gives it up.
                    self.refuse(start, .internalError("the session could not start: a new generation of the stream has begun"))
                    return self.ended(start.consumer)
                }
                self.looked(start, claimed, refusal)
            }
        case .success(.busy): refuse(start, .consumerBusy("\(start.consumer) is being served by another pusher"))
        case .success(.notRegistered):
            return membership.notRegistered(start.consumer) {
                self.refuse(start, $0)
                self.ended(start.consumer)
            }
        case .failure(let error): refuse(start, .internalError("the session could not start: \(error.message)"))
        }
        ended(start.consumer)
    }
}
