import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging
import PosixLoop
import ServiceLifecycle

/// The archiver's work, on its loop's thread.
final class ArchiverEngine: RoleEngine {
    private let configuration: Archiver.Configuration
    private let loop: EventLoop
    private let logger: Logger
    private let warehouse: Warehouse
    private var trouble = TroubleLog()
    private var progress = Progress()
    private var receiver: ReliableReceiver?
    /// When the warehouse is to be looked after.
    private let looks = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    private var nextLook: Timer?
    private var backoff = PersistentConnection.standardBackoff
    /// Whether the pusher has accepted the session; and what it said if it has not.
    private let session = Latest(Readiness.notReady(because: "no pusher has been reached yet"))
    private let metrics = ArchiverMetrics()

    init(_ configuration: Archiver.Configuration, loop: EventLoop, logger: Logger) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        warehouse = Warehouse(configuration, loop: loop, logger: logger)
    }

    /// Asks the pusher how far behind it is; where it is not known it is not a number.
    func collect() async {
        guard let receiver, session.value.isReady else { return metrics.lag.set(Double.nan) }
        let found = try? await receiver.lag(timeout: .seconds(5))
        metrics.lag.set(found.map { Double($0.events) } ?? .nan)
    }

    func start() {}

    /// Whose events the warehouse holds, once it is known.
    var served: ServedStream? {
        warehouse.stream.map { ServedStream(stream: $0, place: nil, table: nil) }
    }

    var readiness: Readiness {
        if let trouble = warehouse.trouble ?? progress.trouble("a batch waits for the warehouse") {
            return .notReady(because: trouble)
        }
        return session.value
    }

    func run() async throws {
        guard let position = await warehouse.open() else { return logger.info("stopped") }
        _ = trouble.isGoodNews()
        logger.info("archiving", metadata: [.consumer: "\(configuration.consumer)", .position: "\(position)"])
        var receiving = ReceiverConfiguration(endpoints: configuration.connect.list, want: configuration.want)
        receiving.answersPartly = false
        // An archive leaves nothing out.
        receiving.mayPark = false
        receiving.keys = configuration.keys
        receiving.fields = .all
        receiving.keepAlive = configuration.keepAlive
        receiving.sessionTimeout = configuration.keepAlive * 3
        receiving.batchLimit = configuration.transactionMax
        receiving.gathering = .milliseconds(5)
        let receiver = try ReliableReceiver(configuration.consumer.component.name, receiving, loop: loop)
        self.receiver = receiver
        defer { self.receiver = nil }
        warehouse.introduce = { try await receiver.archive(known: $0, token: $1) }
        warehouse.link.onLost = { [looks] in looks.continuation.yield() }
        let log = Task { [logger, session, looks] in
            await ArchiverEngine.report(receiver.signals, to: logger, noting: session) { looks.continuation.yield() }
        }
        let keeping = loop.begin(with: self) { await $0.keepWarehouse(for: receiver) }
        // The batch under way is finished and confirmed before the session ends.
        let stopper = Task {
            await untilShutdown()
            await receiver.stop()
        }
        for await batch in receiver.batches {
            guard await archive(batch, from: receiver) else { break }
        }
        // The last confirmation has arrived when the end of the session has been answered.
        stopper.cancel()
        await stopper.value
        // What it waits for ends with the connection, but for one that is only being made.
        keeping.cancel()
        warehouse.close()
        await Answer(.seconds(1), otherwise: ()) { answer in
            Task {
                await keeping.value
                answer(())
            }
        }.value
        nextLook?.cancel()
        log.cancel()
        logger.info("stopped")
    }

    // MARK: The warehouse

    /// Looks after the warehouse while no batch does: connects again, says that this archiver lives, and gives the position up
    /// when the session has ended.
    private func keepWarehouse(for receiver: ReliableReceiver) async {
        looks.continuation.yield()
        for await _ in looks.stream {
            let session = await receiver.session
            // A batch at work is a sign of life.
            guard session == nil || !warehouse.isBusy else {
                lookAgain(in: configuration.keepAlive)
                continue
            }
            do {
                try await warehouse.look(in: session)
                backoff.reset()
                if session != nil, progress.waitingSince == nil, trouble.isGoodNews() {
                    logger.info("the warehouse can be used again")
                }
                lookAgain(in: configuration.keepAlive)
            } catch is CancellationError {
                return
            } catch {
                guard !Task.isCancelled else { return }
                report(error, "the warehouse cannot be used; trying again")
                lookAgain(in: min(backoff.next(), configuration.keepAlive))
            }
        }
    }

    private func lookAgain(in pause: Duration) {
        nextLook?.cancel()
        nextLook = loop.schedule(after: pause) { [looks] in looks.continuation.yield() }
    }

    private func report(_ error: any Error, _ words: String, first: EventID? = nil) {
        guard trouble.isNews("\(words): \(error)") else { return }
        let more: Logger.Fields = first.map { [.first: "\($0)"] } ?? [:]
        logger.log(
            level: error is Warehouse.OtherArchiver ? .warning : .error, "\(words)\(ArchiverEngine.advice(for: error))",
            metadata: more.merging([.error: "\(error)"]) { $1 })
    }

    /// Carries out what ``BatchMachine`` decides; false if told to stop.
    private func archive(_ batch: EventBatch, from receiver: ReliableReceiver) async -> Bool {
        var machine = BatchMachine()
        var action = machine.first
        while true {
            switch action {
            case .findSession:
                let session = await receiver.session
                if session == nil { looks.continuation.yield() }
                action = machine.found(session: session)
            case .archive(let session): action = await attempt(batch, in: session, &machine)
            case .pause: action = machine.paused(isStopping: await !warehouse.pause())
            case .compareGeneration: action = machine.compared(isPresent: await batch.isPresent)
            case .confirm(let count):
                progress.moved(more: false)
                await batch.confirm()
                if trouble.isGoodNews() { logger.info("archiving again") }
                logger.debug("archived", metadata: [.events: "\(count)", .last: "\(batch.events.last?.id ?? .none)"])
                return true
            case .reject(let reason):
                progress.moved(more: false)
                await batch.reject(because: reason)
                return true
            case .moveOn(let reason):
                await batch.reject(because: reason)
                await receiver.moveOn(because: reason)
                action = machine.left()
            case .next: return true
            case .stop: return false
            }
        }
    }

    private func attempt(
        _ batch: EventBatch, in session: Int, _ machine: inout BatchMachine
    ) async -> BatchMachine.Action {
        do {
            progress.waits()
            let begun = MonotonicTime.now
            let count = try await warehouse.append(batch.events, of: batch.origin, in: session)
            metrics.archived(count, since: begun)
            return machine.archived(count)
        } catch let error as HistoryStore.PastGeneration {
            if trouble.isNews("\(error)") {
                logger.error("not archived; trying the next pusher", metadata: [.error: "\(error)"])
            }
            return machine.failed(.pastGeneration("\(error)"))
        } catch is CancellationError {
            return machine.failed(.stopped)
        } catch {
            let blamed = await warehouse.link.blamed(error)
            progress.failed("events from \(batch.events[0].id) on are not archived: \(blamed)")
            report(blamed, "not archived; trying again", first: batch.events[0].id)
            return machine.failed(.other)
        }
    }

    /// What is to be done, where the server's own words do not say it.
    private static func advice(for error: any Error) -> String {
        guard let state = (error as? PostgresError)?.sqlState else { return "" }
        if state == .insufficientPrivilege {
            return ": run evt migrate --roles, and let the role of the archiver be a member of evt_archiver"
        }
        let isAltered = ["22", "23", "42"].contains(state.category)
        return isAltered ? ": the history is not as `evt migrate` made it; put it right" : ""
    }

    private static func report(
        _ signals: AsyncStream<ReceiverSignal>, to logger: Logger, noting session: Latest<Readiness>, change: () -> Void
    ) async {
        var trouble = TroubleLog()
        for await signal in signals {
            switch signal {
            case .ready:
                session.set(.ready("archiving"))
                change()
                if trouble.isGoodNews() { logger.info("receiving") }
            case .receiverError(let error):
                if trouble.isNews(error.description) {
                    logger.warning("events were not taken; they come again", metadata: [.error: "\(error)"])
                }
            case .workerError(let error):
                change()
                let isBusy = error.code == .consumerBusy
                session.set(
                    isBusy ? .ready("standing by: another archiver of this name is at work") : .notReady(because: "\(error)"))
                guard trouble.isNews(error.description) else { continue }
                if isBusy {
                    logger.info("standing by: another archiver of this name is at work")
                } else {
                    logger.warning("not receiving; trying again", metadata: [.error: "\(error)"])
                }
            case .newEvents, .processedEvents, .newGeneration: break
            }
        }
    }
}
