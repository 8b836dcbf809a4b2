import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

/// A connection is given up because it may lead to another database than the others do: no trouble, and no news.
struct LookAgain: Error, CustomStringConvertible {
    let description: String
}

/// What the reader of the head tells.
protocol HeadDelegate: AnyObject {
    /// Reading begins over a new connection.
    ///
    /// - Parameters:
    ///   - isAnew: whether what was read before is of another generation, or nothing was.
    ///   - isBehind: whether events before the position were discarded before they could be read.
    func headStarted(_ identity: GenerationStore.Identity, at position: EventID, isAnew: Bool, isBehind: Bool)
    /// Events that are settled, in order.
    ///
    /// - Parameter complete: what is missing in the page up to here may have been discarded before it could be read; nil if nothing
    ///   has.
    func headRead(_ page: EventPage, completeAfter complete: EventID?)
    func headLost()
}

/// Reads the head of the stream, once for everyone: carries out what ``HeadReader`` decides.
final class HeadDriver {
    private let port: any HeadPort
    private let loop: any LoopPort
    private let processors: any ProcessorPort
    private let logger: Logger
    private let configuration: HeadReader.Configuration
    weak var delegate: (any HeadDelegate)?
    private(set) var head: HeadReader?
    private(set) var memory = StreamMemory()
    /// Which stream this is, and where; once it has been found.
    private(set) var identity: GenerationStore.Identity?
    private var turn = HeadTurn()
    private(set) var watch = HeadWatch()
    private var reports: HeadReports
    private var timer: (any ScheduledCall)?
    /// How often data was erased: what was read before that is not kept.
    private var erasures = 0
    private let wakeUps: WakeUps

    init(
        _ configuration: HeadReader.Configuration, _ port: any HeadPort, loop: any LoopPort, processors: any ProcessorPort,
        logger: Logger
    ) {
        (self.configuration, self.port, self.loop) = (configuration, port, loop)
        (self.processors, self.logger) = (processors, logger)
        reports = HeadReports(logger: logger)
        wakeUps = WakeUps(port, loop: loop)
    }

    func start() {
        port.delegate = self
        port.start()
    }

    func stop() {
        timer?.cancel()
        wakeUps.stop()
        port.stop()
    }

    var isConnected: Bool { port.isConnected }
    /// Everything up to here has been reported.
    var settled: EventID? { head?.settled }
    var gap: SettledHorizon.Gap? { isConnected ? head?.gap : nil }
    /// The event table, for people.
    var table: String? { reports.table }

    /// Whether other pushers listen for wake-ups.
    var hasListeners: Bool {
        get { wakeUps.hasListeners }
        set { wakeUps.hasListeners = newValue }
    }

    /// The database has acknowledged that the stream is settled up to here.
    func stored(_ settled: EventID) { memory.stored(settled) }

    /// Data was erased from the database: a read that is under way may have it still.
    func forget() { erasures += 1 }

    /// Looks again whether the database is still the one it was.
    func lookAgain(because reason: String) { port.restart(because: LookAgain(description: reason)) }

    /// Calls back when everything that was committed before this call has been reported, as far as no open transaction
    /// holds it back; with false if the database goes away meanwhile.
    func whenFresh(_ completion: @escaping (Bool) -> Void) {
        turn.asked(completion)
        // The first read of a connection serves those who ask before it.
        if turn.isFollowing, let action = head?.asked() { perform(action) }
    }

    func trouble(at now: MonotonicTime) -> String? { watch.trouble(isConnected: isConnected, gap: head?.gap, at: now) }
    func isHeldUp(at now: MonotonicTime) -> Bool { watch.isHeldUp(gap: head?.gap, at: now) }

    // MARK: When to read

    private func takeRole() {
        port.takeWakerRole { result in
            guard case .success(let isWaker) = result else { return self.failed(result) }
            self.follow(as: isWaker ? .waker : .listener)
        }
    }

    private func follow(as role: SleepLatch.Role) {
        turn.isFollowing = true
        if let action = head?.started(as: role) { perform(action) }
    }

    private func perform(_ action: SleepLatch.Action) {
        timer?.cancel()
        switch action {
        case .read(let operation): begin(operation)
        case .pause(let duration), .sleep(let duration):
            timer = loop.after(duration) { [weak self] in
                guard let self else { return }
                self.retryRole()
                if let next = self.head?.timerFired() { self.perform(next) }
            }
        }
    }

    /// The pusher with the waking role may have died.
    private func retryRole() {
        guard isConnected, head?.role == .listener, wakeUps.mayAskForRole(at: loop.now) else { return }
        port.takeWakerRole { result in
            if case .success(true) = result { self.head?.roleChanged(to: .waker) }
        }
    }

    // MARK: One turn

    private func begin(_ operation: SleepLatch.LatchOperation) {
        guard isConnected else { return }
        watch.turnBegan(at: loop.now)
        turn.began()
        switch operation {
        case .take:
            port.takeLatch { result in
                guard case .success(let taken) = result else { return self.failed(result) }
                self.turn.latched = taken
            }
        case .release: port.releaseLatch { self.failed($0) }
        case .leave: break
        }
        submit(head?.begin(isAsked: turn.isAsked, at: loop.now))
    }

    private func submit(_ query: HeadReader.Query?) {
        switch query {
        case .holders(let withNewest): readHolders(withNewest: withNewest)
        case .rows(let after): readRows(after: after)
        case .advance(let id): advanceSequence(beyond: id)
        case nil: turnEnded()
        }
    }

    private func readHolders(withNewest: Bool) {
        let begun = loop.now
        port.look(newestAfter: withNewest ? (settled ?? EventID.none) : nil) { result in
            guard case .success(let look) = result else { return self.failed(result) }
            let now = self.loop.now
            let next = self.head?.sawHolders(look.holders, newest: look.newest, drawn: look.drawn, took: now - begun, at: now)
            if next == nil { self.reportGap() }
            self.submit(next)
        }
    }

    private func advanceSequence(beyond id: EventID) {
        port.advance(beyond: id) { result in
            guard case .success(let mayAdvance) = result else { return self.failed(result) }
            guard mayAdvance else { return self.failed(Result<Void, _>.failure(HeadReports.notPermitted(id))) }
            self.logger.warning(
                "an event has an id that the sequence has not given; the sequence goes on after it", metadata: [.last: "\(id)"])
            self.readHolders(withNewest: true)
        }
    }

    private func readRows(after: EventID) {
        let (begun, erasures) = (loop.now, erasures)
        port.read(after: after) { result in
            guard case .success(let rows) = result else { return self.failed(result) }
            guard self.erasures == erasures else { return self.readRows(after: after) }
            let now = self.loop.now
            let ids = rows.ids
            let count = self.head?.sawRows(ids, isCut: rows.isCut, took: now - begun, at: now) ?? 0
            self.memory.read(rows.traces(first: count))
            guard count > 0, ids[count - 1].rawValue - after.rawValue != Int64(count) else {
                return self.turnEnded { self.report(rows, count) }
            }
            // Ids that are missing were rolled back, or discarded since: by a discarder that waits for no consumer beyond its lag.
            self.port.discarded { result in
                switch result {
                case .success(let discarded):
                    let complete = self.erasures != erasures ? ids[count - 1] : discarded > after ? discarded : nil
                    self.turnEnded { self.report(rows, count, completeAfter: complete) }
                case .failure:
                    self.report(rows, count, completeAfter: ids[count - 1])
                    self.failed(result)
                }
            }
        }
    }

    private func report(_ rows: any FetchedRows, _ count: Int, completeAfter complete: EventID? = nil) {
        guard count > 0 else { return }
        reports.gapClosed(at: loop.now)
        delegate?.headRead(rows.page(first: count), completeAfter: complete)
        if head?.role == .waker { wakeUps.passOn() }
    }

    /// - Parameter report: tells of what the turn has found. By then the next turn has begun: the database works on it while
    ///   these rows are put into their wire form and sent.
    private func turnEnded(report: () -> Void = {}) {
        guard let isFresh = head?.isFresh else { return }
        watch.turnEnded()
        let ready = turn.ended(isFresh: isFresh)
        let action = head?.end(
            latched: turn.latched, isAsked: turn.hasAskers, areProcessorsShort: processors.areShort, at: loop.now)
        if let action { perform(action) }
        report()
        for asker in ready { asker(true) }
    }

    /// A query was cancelled, or does not work; the connection lives. Start over, after a pause: a new connection holds no
    /// locks of unknown state.
    private func failed<Value>(_ result: Result<Value, PostgresError>) {
        guard case .failure(let error) = result, isConnected else { return }
        port.restart(because: error)
    }

    private func reportGap() {
        guard let gap = head?.gap, let holders = gap.holders, reports.isDue(gap, at: loop.now) else { return }
        port.describe(holders) { self.reports.waiting(gap, for: $0, at: self.loop.now) }
    }
}

extension HeadDriver: HeadPortDelegate {
    func headOpened(_ start: HeadStart) {
        let found = start.finding.identity
        reports.found(start, before: memory.generation)
        // After a reconnect reading goes on where it was, if that means anything in this database.
        let isAnew = head == nil || memory.generation != found.generation
        let isBehind = !isAnew && start.discarded > (head?.settled ?? .none)
        if isAnew || isBehind { head = HeadReader(settled: start.floor, configuration) }
        memory.follow(found.generation)
        identity = found
        let position = head?.settled ?? .none
        reports.following(found, at: position)
        delegate?.headStarted(found, at: position, isAnew: isAnew, isBehind: isBehind)
        if start.writersMayPrepare { follow(as: .poller) } else { takeRole() }
    }

    func headNotified(by process: Int32) {
        if turn.isFollowing, let action = head?.notified(by: process, at: loop.now) { perform(action) }
    }

    func headFailed(_ error: any Error) {
        timer?.cancel()
        watch.failed(error)
        reports.failed(error)
        let waiting = turn.lost()
        delegate?.headLost()
        for asker in waiting { asker(false) }
    }
}
