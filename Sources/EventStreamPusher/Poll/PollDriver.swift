import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

/// Polls: carries out what ``PollMachine`` decides.
final class PollDriver {
    /// A call, and how far it is.
    private final class Poll {
        var machine: PollMachine
        let want: EventFilter
        let fields: EventFields
        let rid: RequestID?
        let peer: Peer
        var consumer: ConsumerIdentity { ConsumerIdentity(user: peer.user, component: machine.component) }

        init(_ machine: PollMachine, want: EventFilter, fields: EventFields, rid: RequestID?, peer: Peer) {
            self.machine = machine
            self.want = want
            self.fields = fields
            self.rid = rid
            self.peer = peer
        }
    }

    /// Events in an answer at most.
    private let maxChunkEvents: Int
    private let loop: any LoopPort
    private let head: HeadDriver
    private let peers: any PeerPort
    private let membership: Membership
    private let reads: EventReads
    private let turns: CallTurns
    private var memo = PollMemo()
    /// How far polls of registered consumers were answered with ids that an earlier generation may have given to others.
    private var polledOut: [ConsumerIdentity: EventID] = [:]

    init(
        maxChunkEvents: Int, loop: any LoopPort, head: HeadDriver, peers: any PeerPort, membership: Membership, reads: EventReads,
        turns: CallTurns
    ) {
        self.maxChunkEvents = maxChunkEvents
        self.loop = loop
        self.head = head
        self.peers = peers
        self.membership = membership
        self.reads = reads
        self.turns = turns
    }

    /// What is known of an earlier generation means nothing any more.
    func beginAnew() { (memo, polledOut) = (PollMemo(), [:]) }

    private func stream(for poll: Poll) -> PollMachine.Stream {
        .init(generation: head.identity?.generation, settled: head.settled ?? .none, polledOut: polledOut[poll.consumer])
    }

    func poll(
        _ machine: PollMachine, want: EventFilter, fields: EventFields, rid: RequestID?, peer: Peer
    ) throws(EventStreamError) {
        let poll = Poll(machine, want: want, fields: fields, rid: rid, peer: peer)
        if let refusal = machine.refusal(in: stream(for: poll)) { throw refusal }
        guard head.isConnected, head.settled != nil else { throw .unavailable }
        try turns.inTurn(peer) {
            // Nobody waits for the answer any more, perhaps.
            guard self.peers.isConnected(peer) else { return self.turns.ended(peer) }
            // Answers must show what was committed before the call.
            self.head.whenFresh { self.perform(poll.machine.freshened($0, in: self.stream(for: poll)), poll) }
        }
    }

    private func perform(_ action: PollMachine.Action, _ poll: Poll) {
        switch action {
        case .findNewest(let id):
            guard let port = membership.consumers else { return fail(poll, .unreachable) }
            port.newest(after: id) { result in
                self.perform(result, poll) { poll.machine.found(newest: $0, in: self.stream(for: poll)) }
            }
        case .confirm(let position):
            confirm(poll, through: position) { result in
                if case .success(nil) = result {
                    return self.membership.notRegistered(poll.consumer) { self.perform(poll.machine.failed($0), poll) }
                }
                self.perform(result, poll) { poll.machine.stored($0, consumer: poll.consumer, in: self.stream(for: poll)) }
            }
        case .recall(let after):
            let start = memo.start(after: after, want: poll.want)
            perform(poll.machine.begins(at: start, in: stream(for: poll)), poll)
        case .read(let after, let through): read(poll, after: after, through: through)
        case .answer(let outcome):
            peers.answer(poll.peer, .init(outcome: outcome, rid: poll.rid))
            turns.ended(poll.peer)
        }
    }

    private func perform<Value>(
        _ result: Result<Value, PostgresError>, _ poll: Poll, _ next: (Value) -> PollMachine.Action
    ) {
        switch result {
        case .success(let value): perform(next(value), poll)
        case .failure(let error): fail(poll, error)
        }
    }

    private func fail(_ poll: Poll, _ error: PostgresError) {
        perform(poll.machine.failed(EventReads.Failure.database(error).error), poll)
    }

    /// - Parameter attempts: what somebody else does to the row at the same time is no error of the poller's.
    private func confirm(
        _ poll: Poll, through position: EventID, attempts: Int = 3,
        _ completion: @escaping (Result<ConsumerStore.Polled?, PostgresError>) -> Void
    ) {
        guard let port = membership.consumers, let asked = membership.trusted else { return completion(.failure(.unreachable)) }
        port.confirm(poll.consumer, through: position, want: poll.want, of: asked.generation) { result in
            guard case .failure(let error) = result, error.code == .server, error.isRetriable, attempts > 1 else {
                return completion(result)
            }
            self.loop.after(.milliseconds(200)) {
                guard self.membership.trusted == asked else { return completion(result) }
                self.confirm(poll, through: position, attempts: attempts - 1, completion)
            }
        }
    }

    private func read(_ poll: Poll, after: EventID, through: EventID) {
        guard peers.isConnected(poll.peer) else { return perform(poll.machine.abandoned(), poll) }
        let limits = QueueReader.Limits(rows: maxChunkEvents, bytes: 4 << 20)
        let completion: EventReads.Completion<any FetchedRows> = { result in
            guard case .success(let rows) = result else {
                if case .failure(let failure) = result { self.perform(poll.machine.failed(failure.error), poll) }
                return
            }
            let group = EventGroup(
                from: [rows.page()], after: after, want: poll.want, in: poll.machine.component.slice, fields: poll.fields,
                limits: GroupLimits(events: self.maxChunkEvents, bytes: MessageLimit.events))
            let stream = self.stream(for: poll)
            if poll.machine.refusal(in: stream) == nil { self.remember(group, after: after, poll, stream) }
            let isWaitedFor = self.peers.isConnected(poll.peer)
            self.perform(poll.machine.read(group, isWaitedFor: isWaitedFor, in: stream), poll)
        }
        // A live poller gets what is still in the table.
        if poll.machine.component.isLive {
            reads.readTable(after: after, through: through, want: poll.want, limits: limits) { completion($0.map(\.rows)) }
        } else {
            reads.read(after: after, through: through, want: poll.want, limits: limits, completion)
        }
    }

    /// Unwanted events must not hold the discarder up, nor be looked at again.
    private func remember(_ group: EventGroup, after: EventID, _ poll: Poll, _ stream: PollMachine.Stream) {
        let isLive = poll.machine.component.isLive
        if let last = group.last {
            guard !isLive, last <= stream.generation?.start ?? .none else { return }
            polledOut[poll.consumer] = max(last, polledOut[poll.consumer] ?? .none)
        } else if isLive {
            memo.foundNothing(after: poll.machine.last ?? .none, through: group.through, want: poll.want)
        } else if group.through > after {
            confirm(poll, through: group.through) { _ in }
        }
    }
}
