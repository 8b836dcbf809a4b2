import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

/// Serves the generator's calls: commits what waits, one commit at a time, and answers.
final class RecordingDriver: RequestHandler {
    private struct Pending {
        let peer: Peer
        let rid: RequestID?
        let draft: Recorder.Draft
    }

    private typealias Batch = RecordingQueue<Pending>.Batch

    private let loop: any LoopPort
    private let peers: any PeerPort
    private let database: PersistentConnection
    private let logger: Logger
    private let metrics = GeneratorMetrics()
    /// Records into the tables of the connection that is open now.
    var recorder: Recorder?
    private var queue: RecordingQueue<Pending>
    private var isCommitting = false
    private var holdTimer: (any ScheduledCall)?
    private var peerLog = PeerLog()
    private(set) var progress = Progress()
    private var onIdle: (() -> Void)?

    init(
        _ configuration: Generator.Configuration, peers: any PeerPort, database: PersistentConnection, loop: any LoopPort,
        logger: Logger
    ) {
        (self.loop, self.peers, self.database, self.logger) = (loop, peers, database, logger)
        queue = RecordingQueue(
            .init(
                commitMax: configuration.commitMax, commitShare: configuration.commitShare, events: configuration.queueMax,
                bytes: configuration.queueBytes))
    }

    // MARK: Calls

    func received(_ call: Call, rid: RequestID?, from peer: Peer) {
        do throws(EventStreamError) {
            switch call {
            case .ping(let echo): peers.answer(peer, rid, RawJSON.object("echo", echo))
            case .addEvent(let draft): try add(draft, for: peer, rid: rid)
            case .registerConsumer, .pollEvents, .readyToReceive, .stopReceiving, .lag, .archive:
                throw .notImplemented("not offered here")
            }
        } catch {
            peers.answer(peer, rid, error)
        }
    }

    private func add(_ draft: Recorder.Draft, for peer: Peer, rid: RequestID?) throws(EventStreamError) {
        try draft.check()
        try queue.add(Pending(peer: peer, rid: rid, draft: draft), of: peer.account, bytes: draft.bytes)
        // Whatever else has arrived by now goes into the same commit.
        if database.current == nil { return waitForDatabase() }
        if !isCommitting { loop.soon { self.commitNext() } }
    }

    /// A database that is back in a moment is waited for; else the requests are turned away.
    private func waitForDatabase() {
        guard holdTimer == nil else { return }
        holdTimer = loop.after(DatabaseWait.timeout) { [weak self] in
            self?.holdTimer = nil
            self?.commitNext()
        }
    }

    // MARK: Commits

    /// A connection has been opened.
    func opened() {
        progress.moved(more: queue.count > 0)
        commitNext()
    }

    private func commitNext() {
        guard !isCommitting else { return }
        guard !queue.isEmpty, let connection = database.current, let recorder else {
            for pending in queue.takeAll() {
                answer(pending, .internalError("the event was not recorded: the database cannot be reached"))
            }
            return idle()
        }
        while var batch = queue.next() {
            // Of somebody who may not record any more, what waits is not recorded either.
            batch.events.removeAll { !peers.isCurrent($0.peer.caller) }
            if !batch.events.isEmpty { return commit(batch, with: recorder, on: connection) }
        }
        idle()
    }

    private func commit(_ batch: Batch, with recorder: Recorder, on connection: Connection) {
        isCommitting = true
        progress.waits()
        let begun = MonotonicTime.now
        recorder.record(batch.events.map(\.draft), on: connection) { result in
            self.isCommitting = false
            switch result {
            case .success(let outcomes):
                self.metrics.recorded(outcomes.count, since: begun)
                self.progress.moved(more: false)
                self.recorded(batch.events, outcomes)
            case .failure(let error):
                let failure = RecordingFailure(error: error)
                // Halves find those at fault; the others are recorded, in order and before anything newer.
                if connection.isOpen, failure.mayBeOfOneEvent, let half = self.queue.halve(batch, at: .now) {
                    return self.commit(half, with: recorder, on: connection)
                }
                self.failed(batch.events, failure)
                // A new connection finds out what is so, such as a policy that would hide rows.
                if error.isOfRowSecurity { self.database.restart(because: error) }
            }
            if self.database.current == nil { self.waitForDatabase() } else { self.commitNext() }
        }
    }

    private func recorded(_ events: [Pending], _ outcomes: [Recorder.Outcome]) {
        for (pending, outcome) in zip(events, outcomes) {
            switch outcome {
            case .recorded(let id): peers.answer(pending.peer, pending.rid, RawJSON.string(id.description))
            case .dropped:
                answer(pending, .invalidRequest("the event was not recorded: a trigger of the event table has dropped it"))
            case .conflict:
                answer(
                    pending,
                    .idempotencyConflict(
                        "the event was not recorded: the idempotency key was used for an event with another type, data, key or meta"
                    ))
            }
        }
    }

    private func failed(_ events: [Pending], _ failure: RecordingFailure) {
        progress.moved(more: false)
        if !failure.isRefusal {
            let error = failure.error
            progress.failed("events could not be recorded: \(error)")
            // The words may be an application's, about the events themselves: no two need to be alike.
            if let line = peerLog.line("not recorded", of: events[0].peer.account) {
                logger.warning("events could not be recorded", metadata: line.metadata([.error: "\(error)"]))
            }
        }
        // Of several it is not known which one was refused: none of them is to blame.
        let answer =
            events.count > 1 && failure.isRefusal
            ? EventStreamError.internalError(
                "the event was not recorded: another one of its commit was refused: \(failure.error.message)")
            : failure.answer(for: events.count == 1 ? events[0].draft : nil)
        for pending in events { self.answer(pending, answer) }
    }

    private func answer(_ pending: Pending, _ error: EventStreamError) { peers.answer(pending.peer, pending.rid, error) }

    // MARK: The end

    /// Commits and answers what has been received, for at most 3 s.
    func drain() async {
        commitNext()
        guard isCommitting else { return }
        await withCheckedContinuation { continuation in
            let deadline = loop.after(.seconds(3)) { [weak self] in self?.idle() }
            onIdle = {
                deadline.cancel()
                continuation.resume()
            }
        }
    }

    private func idle() {
        let onIdle = onIdle
        self.onIdle = nil
        onIdle?()
    }

    // MARK: What it shows

    func collect() { metrics.waiting.set(queue.count) }

    /// Why events are not recorded, in words for people.
    var trouble: String? { progress.trouble("\(queue.count) events wait for a commit", at: .now) }
}
