import DequeModule
import EventLoop
import EventStore
import EventStream
public import Logging
import Postgres
public import ServiceLifecycle
import ZeroMQ

/// The `futoin.evt.gen` service: records events for those who have no database transaction of their own.
///
/// Requests that arrive while a commit is under way are committed together by the next one. Each is answered after its
/// commit, so an id that was answered is durable.
public struct Generator: Service {
    public struct Configuration: Sendable {
        /// Where to listen; none turns the service off.
        public var bind: Endpoints
        public var database: DatabaseConfiguration
        /// Bytes a request may have.
        public var maxRequestBytes = 65_536
        /// Events one commit may have; at least 1.
        public var commitMax = 1000
        /// Events waiting for a commit at most; past it requests are turned away.
        public var queueMax = 100_000
        /// Bytes of their data at most.
        public var queueBytes = 64 << 20
        /// Allows endpoints that other machines can reach.
        public var insecure = false

        public init(bind: Endpoints, database: DatabaseConfiguration) {
            self.bind = bind
            self.database = database
        }
    }

    private let configuration: Configuration
    private let logger: Logger

    public init(_ configuration: Configuration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    public func run() async throws {
        try configuration.bind.requireLocal(setting: "EVT_GENERATOR_BIND", insecure: configuration.insecure)
        let (configuration, logger) = (configuration, logger)
        try await ServiceRunner.run { loop in
            let engine = try GeneratorEngine(configuration, loop: loop, logger: logger)
            engine.start()
            await ServiceRunner.untilShutdown()
            await engine.stop()
        }
    }
}

/// The generator's work, on its loop's thread.
final class GeneratorEngine {
    private struct Pending {
        let peer: Peer
        let rid: RequestID?
        let draft: Recorder.Draft
    }

    private let configuration: Generator.Configuration
    private let loop: EventLoop
    private let logger: Logger
    private let server: RequestServer?
    private let database: PersistentConnection
    private var recorder: Recorder?
    private var waiting: Deque<Pending> = []
    private var waitingBytes = 0
    private var committing = false
    private var patience: Timer?
    private var onIdle: (() -> Void)?

    init(_ configuration: Generator.Configuration, loop: EventLoop, logger: Logger) throws {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        server =
            configuration.bind.isEmpty
            ? nil
            : try RequestServer(
                binding: configuration.bind.list, context: Context(), loop: loop, sizeLimit: configuration.maxRequestBytes,
                name: "generator", sendLimit: Int32(clamping: configuration.queueMax),
                budget: SendBudget(limit: 16 << 20), logger: logger)
        database = PersistentConnection(configuration.database.options(application: "evt-generator"), on: loop)
    }

    func start() {
        server?.onRequest = { [unowned self] in self.received($1, from: $0) }
        database.delegate = self
        database.start()
        server?.start()
        logger.info("listening", metadata: [.endpoints: "\(server?.endpoints.joined(separator: ",") ?? "nowhere")"])
    }

    /// Commits and answers what has been received, then closes.
    func stop() async {
        server?.stop()
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

    private func idle() {
        let onIdle = onIdle
        self.onIdle = nil
        onIdle?()
    }

    private func received(_ request: WireMessage.Request, from peer: Peer) {
        do {
            switch try Call(request, offering: [.generator, .ping]) {
            case .ping(let echo): server?.answer(peer, request.rid, RawJSON.object("echo", echo))
            case .addEvent(let type, let data): try add(.init(type: type, data: data), for: peer, rid: request.rid)
            default: throw FutoInError.notImplemented("not offered here")
            }
        } catch let error as FutoInError {
            server?.answer(peer, request.rid, error)
        } catch {
            server?.answer(peer, request.rid, .internalError("\(error)"))
        }
    }

    private func add(_ draft: Recorder.Draft, for peer: Peer, rid: RequestID?) throws(FutoInError) {
        guard waiting.count < configuration.queueMax, waitingBytes < configuration.queueBytes else {
            throw .internalError("the event was not recorded: \(waiting.count) others are waiting already")
        }
        waiting.append(Pending(peer: peer, rid: rid, draft: draft))
        waitingBytes += draft.data.bytes.count
        // Whatever else has arrived by now goes into the same commit.
        if database.current == nil { return waitForDatabase() }
        if !committing { loop.execute { [box = Unchecked(self)] in box.value.commitNext() } }
    }

    /// A database that is back in a moment is waited for; else the requests are turned away.
    private func waitForDatabase() {
        guard patience == nil else { return }
        patience = loop.schedule(after: HeldCalls.patience) { [weak self] in
            self?.patience = nil
            self?.commitNext()
        }
    }

    private func commitNext() {
        guard !committing else { return }
        guard !waiting.isEmpty, let connection = database.current, let recorder else {
            for pending in waiting {
                server?.answer(
                    pending.peer, pending.rid, .internalError("the event was not recorded: the database cannot be reached"))
            }
            waiting.removeAll()
            waitingBytes = 0
            return idle()
        }
        let batch = Array(waiting.prefix(configuration.commitMax))
        waiting.removeFirst(batch.count)
        waitingBytes -= batch.reduce(0) { $0 + $1.draft.data.bytes.count }
        commit(batch, with: recorder, on: connection)
    }

    private func commit(_ batch: [Pending], with recorder: Recorder, on connection: Connection) {
        committing = true
        recorder.record(batch.map(\.draft), on: connection) { [unowned self] result in
            self.committing = false
            switch result {
            case .success(let ids):
                for (pending, id) in zip(batch, ids) {
                    self.server?.answer(pending.peer, pending.rid, RawJSON.string(id.description))
                }
            case .failure(let error):
                if batch.count > 1, connection.isOpen, GeneratorEngine.isEventAtFault(error) {
                    // Nothing of the batch was recorded. Halves, down to single events, find the one at fault.
                    let middle = batch.count / 2
                    return self.commitInTurn([Array(batch[..<middle]), Array(batch[middle...])], recorder, connection)
                }
                for pending in batch { self.server?.answer(pending.peer, pending.rid, GeneratorEngine.explain(error)) }
            }
            if self.database.current == nil { self.waitForDatabase() } else { self.commitNext() }
        }
    }

    /// Puts the parts back in front, to be committed one by one before anything newer.
    private func commitInTurn(_ parts: [[Pending]], _ recorder: Recorder, _ connection: Connection) {
        waiting.prepend(contentsOf: parts.dropFirst().joined())
        waitingBytes += parts.dropFirst().joined().reduce(0) { $0 + $1.draft.data.bytes.count }
        commit(parts[0], with: recorder, on: connection)
    }

    /// Class 22 and 23, and too deep nesting: the database has looked at an event and will not have it.
    private static func isEventAtFault(_ error: PostgresError) -> Bool {
        guard error.code == .server, let state = error.sqlState else { return false }
        return state.hasPrefix("22") || state.hasPrefix("23") || state == "54001"
    }

    private static func explain(_ error: PostgresError) -> FutoInError {
        if isEventAtFault(error) {
            return .invalidRequest("the event was not recorded: \(error.message)")
        }
        if error.code == .server && error.sqlState?.hasPrefix("57P") != true {
            return .internalError("the event was not recorded: \(error)")
        }
        guard error.mayHaveBeenExecuted else { return .internalError("the event was not recorded: \(error)") }
        return .internalError("it is not known whether the event was recorded: \(error)")
    }
}

extension GeneratorEngine: PersistentConnectionDelegate {
    func prepare(_ connection: Connection, of keeper: PersistentConnection) async throws {
        recorder = Recorder(try await StreamInfo.load(configuration.database.tables, from: connection).tables)
    }

    func opened(_ connection: Connection, of keeper: PersistentConnection) {
        logger.info("connected to the database", metadata: [.database: "\(configuration.database)"])
        commitNext()
    }

    func failed(_ error: any Error, retryingIn pause: Duration, of keeper: PersistentConnection) {
        logger.warning("no database", metadata: [.error: "\(error)", .retryIn: "\(pause)"])
    }
}
