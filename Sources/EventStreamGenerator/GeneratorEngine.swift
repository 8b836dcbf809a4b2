import DequeModule
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import LibZMQ
import Logging
import PosixLoop

/// The generator's work, on its loop's thread.
final class GeneratorEngine: RoleEngine {
    private struct Pending {
        let peer: Peer
        let rid: RequestID?
        let draft: Recorder.Draft
    }

    private struct Batch {
        var events: [Pending]
        /// Until when those at fault are looked for among them; nil before anything failed.
        var searchEnd: MonotonicTime?
    }

    private let configuration: Generator.Configuration
    private let loop: EventLoop
    private let logger: Logger
    private let access: AccessControl
    private let server: RequestServer?
    private let database: PersistentConnection
    private var recorder: Recorder?
    private var waiting = FairQueue<Account, Pending>()
    /// Parts of a batch that failed: to be committed before anything newer.
    private var again: Deque<Batch> = []
    private var committing = false
    private var holdTimer: Timer?
    private var trouble = TroubleLog()
    private var peerLog = PeerLog()
    private var progress = Progress()
    private var lastError: String?
    private(set) var served: ServedStream?
    private let events = Metric.generatorEvents.counter()
    private let commits = Metric.generatorCommit.durations()
    private let waitingGauge = Metric.generatorWaiting.gauge()
    private let reconnects = Metric.reconnects.counter()
    private var onIdle: (() -> Void)?
    private var watch: HindranceWatch?

    init(_ configuration: Generator.Configuration, loop: EventLoop, logger: Logger) throws {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        let context = Context()
        access = try AccessControl(configuration.keys, context: context, loop: loop, logger: logger)
        server =
            configuration.bind.isEmpty
            ? nil
            : try RequestServer(
                .generator, binding: configuration.bind, offering: [.generator, .ping], access: access,
                limits: configuration.limits, context: context, loop: loop, sizeLimit: configuration.maxRequestBytes,
                sendLimit: Int32(clamping: configuration.queueMax), budget: SendBudget(limit: 16 << 20), logger: logger)
        database = PersistentConnection(configuration.database.options(application: "evt-generator"), on: loop)
        watch = HindranceWatch(configuration.database, application: "evt-generator", loop: loop, logger: logger) {
            [weak self] in self.map { $0.database.current == nil || $0.progress.waitingSince != nil } ?? false ? .waiting : .none
        }
    }

    func start() {
        server?.onCall = { [weak self] in self?.received($1, rid: $2, from: $0) }
        database.delegate = self
        database.start()
        access.start()
        server?.start()
        watch?.start()
        logger.info("listening", metadata: [.endpoints: "\(server?.endpoints.joined(separator: ",") ?? "nowhere")"])
    }

    /// Works until the process is told to stop; then commits and answers what has been received, and closes.
    func run() async {
        await untilShutdown()
        server?.stop()
        access.stop()
        watch?.stop()
        commitNext()
        if committing {
            await withCheckedContinuation { continuation in
                let deadline = loop.schedule(after: .seconds(3)) { [weak self] in self?.idle() }
                onIdle = {
                    deadline.cancel()
                    continuation.resume()
                }
            }
        }
        database.stop()
        logger.info("stopped")
    }

    func collect() { waitingGauge.set(waiting.count) }

    var readiness: Readiness {
        guard database.current != nil else {
            return .notReady(because: blamed(lastError ?? "the database cannot be reached"))
        }
        if let trouble = progress.trouble("\(waiting.count) events wait for a commit", at: .now) {
            return .notReady(because: blamed(trouble))
        }
        if let found = watch?.found { return .notReady(because: "events wait for a commit: \(found)") }
        return .ready("recording events")
    }

    /// The trouble, with who is to blame where that has been found out.
    private func blamed(_ trouble: String) -> String { watch?.found.map { "\(trouble): \($0)" } ?? trouble }

    private func idle() {
        let onIdle = onIdle
        self.onIdle = nil
        onIdle?()
    }

    private func received(_ call: Call, rid: RequestID?, from peer: Peer) {
        do throws(EventStreamError) {
            switch call {
            case .ping(let echo): server?.answer(peer, rid, RawJSON.object("echo", echo))
            case .addEvent(let type, let data): try add(.init(type: type, data: data), for: peer, rid: rid)
            default: throw .notImplemented("not offered here")
            }
        } catch {
            server?.answer(peer, rid, error)
        }
    }

    private func add(_ draft: Recorder.Draft, for peer: Peer, rid: RequestID?) throws(EventStreamError) {
        guard draft.data.bytes.count <= Event.largestData else { throw .tooLarge(draft.data.bytes.count) }
        let (mine, bytes) = (waiting.count(of: peer.account), waiting.weight(of: peer.account))
        // Of what there is room for, half is for the others.
        guard mine <= configuration.queueMax / 2, bytes <= configuration.queueBytes / 2, waiting.count < configuration.queueMax,
            waiting.weight < configuration.queueBytes
        else { throw .defenseRejected("the event was not recorded: too many are waiting already, \(mine) of them yours") }
        waiting.append(
            Pending(peer: peer, rid: rid, draft: draft), of: peer.account, weight: draft.data.bytes.count)
        // Whatever else has arrived by now goes into the same commit.
        if database.current == nil { return waitForDatabase() }
        if !committing { loop.soon { self.commitNext() } }
    }

    /// A database that is back in a moment is waited for; else the requests are turned away.
    private func waitForDatabase() {
        guard holdTimer == nil else { return }
        holdTimer = loop.schedule(after: HeldCalls.timeout) { [weak self] in
            self?.holdTimer = nil
            self?.commitNext()
        }
    }

    private func commitNext() {
        guard !committing else { return }
        guard !waiting.isEmpty || !again.isEmpty, let connection = database.current, let recorder else {
            for pending in again.flatMap(\.events) + waiting.takeAll() {
                server?.answer(
                    pending.peer, pending.rid, .internalError("the event was not recorded: the database cannot be reached"))
            }
            again.removeAll()
            return idle()
        }
        var batch =
            again.popFirst() ?? Batch(events: waiting.take(configuration.commitMax, share: configuration.commitShare))
        // Of somebody who may not record any more, what waits is not recorded either.
        batch.events.removeAll { !access.isCurrent($0.peer.caller) }
        guard !batch.events.isEmpty else { return commitNext() }
        commit(batch, with: recorder, on: connection)
    }

    private func commit(_ batch: Batch, with recorder: Recorder, on connection: Connection) {
        committing = true
        progress.waits()
        let begun = MonotonicTime.now
        recorder.record(batch.events.map(\.draft), on: connection) { result in
            self.committing = false
            switch result {
            case .success(let ids):
                self.events.add(ids.count)
                self.commits.record(.now - begun)
                self.progress.moved(more: false)
                self.recorded(batch.events, as: ids)
            case .failure(let error):
                let failure = RecordingFailure(error: error)
                if batch.events.count > 1, connection.isOpen, failure.mayBeOfOneEvent, batch.searchEnd.map({ $0 > .now }) ?? true
                {
                    return self.search(batch, with: recorder, on: connection)
                }
                self.failed(batch.events, failure)
            }
            // A new connection finds out what is so, such as a policy that would hide rows.
            if case .failure(let error) = result, error.isOfRowSecurity { self.database.restart(because: error) }
            if self.database.current == nil { self.waitForDatabase() } else { self.commitNext() }
        }
    }

    private func recorded(_ events: [Pending], as ids: [EventID]) {
        for (pending, id) in zip(events, ids) { server?.answer(pending.peer, pending.rid, RawJSON.string(id.description)) }
        for pending in events.dropFirst(ids.count) {
            let error = EventStreamError.invalidRequest("the event was not recorded: a trigger of the event table has dropped it")
            server?.answer(pending.peer, pending.rid, error)
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
            : failure.answer
        for pending in events { server?.answer(pending.peer, pending.rid, answer) }
    }

    /// Nothing of the batch was recorded. Halves, down to single events, find those at fault; the others are recorded, in order and
    /// before anything newer.
    private func search(_ batch: Batch, with recorder: Recorder, on connection: Connection) {
        let (middle, end) = (batch.events.count / 2, batch.searchEnd ?? .now + RecordingFailure.searchLimit)
        again.prepend(Batch(events: Array(batch.events[middle...]), searchEnd: end))
        commit(Batch(events: Array(batch.events[..<middle]), searchEnd: end), with: recorder, on: connection)
    }
}

extension GeneratorEngine: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        let info = try await StreamInfo.load(configuration.database.tables, from: connection, writing: true)
        served = try await ServedStream.load(info, from: connection)
        recorder = Recorder(info.tables)
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) {
        progress.moved(more: !waiting.isEmpty)
        if trouble.isGoodNews() {
            logger.info("connected to the database", metadata: [.database: "\(configuration.database)"])
        }
        commitNext()
    }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        reconnects.add()
        lastError = "\(error)"
        guard trouble.isNews("\(error)") else { return }
        logger.warning("no database; trying again", metadata: [.error: "\(error)"])
    }
}
