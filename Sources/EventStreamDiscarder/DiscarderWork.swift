import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging
import PosixLoop
import ServiceLifecycle

/// The discarder's work on one connection.
final class DiscarderWork {
    private let configuration: Discarder.Configuration
    private let logger: Logger
    private let connection: Connection
    private let info: StreamInfo
    private let store: DiscardStore
    private let guards: [ArchiveGuard]
    private let heldBack: HeldBackReport
    private var plan: DiscardPlan
    /// What may go at most, as long as a guard refuses the rest.
    private var allowed = EventID(.max)
    private var refusal: String?
    private var isNoted = false
    private let hindrances: DiscarderHindrances
    private let health: DiscarderHealth
    private var discarded = 0
    private var reported: ContinuousClock.Instant?
    private var tablesChecked: ContinuousClock.Instant?
    /// Rows deleted in each segment since it was vacuumed or emptied.
    private var dead: [Int: Int] = [:]

    private init(
        _ configuration: Discarder.Configuration, _ info: StreamInfo, _ connection: Connection, loop: EventLoop,
        health: DiscarderHealth, logger: Logger
    ) {
        self.health = health
        self.configuration = configuration
        self.logger = logger
        self.connection = connection
        self.info = info
        store = DiscardStore(info)
        hindrances = DiscarderHindrances(info.tables, connection, health: health, logger: logger)
        guards = configuration.required.map { ArchiveGuard($0, info, period: configuration.pollPeriod, loop: loop) }
        heldBack = HeldBackReport(info, warnEvents: configuration.warnEvents, period: configuration.pollPeriod, logger: logger)
        plan = DiscardPlan(limit: configuration.limitAtOnce, period: configuration.pollPeriod)
    }

    static func open(
        _ configuration: Discarder.Configuration, loop: EventLoop, health: DiscarderHealth, logger: Logger
    ) async throws -> DiscarderWork {
        let connection = try await Connection.open(
            configuration.database.options(
                application: "evt-discarder",
                settings: [
                    // Registering waits for the discarder; a frozen one must not keep it waiting.
                    "lock_timeout": "5s", "idle_in_transaction_session_timeout": "10s",
                    // What a crash brings back is discarded again.
                    "synchronous_commit": "off",
                    // One processor at most, and VACUUM as gently as autovacuum's.
                    "max_parallel_workers_per_gather": "0", "vacuum_cost_delay": "2ms", "statement_timeout": "0",
                ].merging(DiscardStore.settings) { mine, _ in mine }), on: loop)
        do {
            let info = try await StreamInfo.load(configuration.database.tables, from: connection, writing: true)
            // What a copy confirms and compares is none of the stream's.
            if let doubt = try await GenerationStore(info).doubt(on: connection) { throw StoreError(doubt) }
            health.served = try await ServedStream.load(info, from: connection)
            return DiscarderWork(configuration, info, connection, loop: loop, health: health, logger: logger)
        } catch {
            connection.close()
            throw error
        }
    }

    func close() {
        report(always: true)
        connection.close()
        for each in guards { each.close() }
    }

    /// - Parameter progress: called after every step that went well.
    func run(progress: () -> Void) async throws {
        do {
            try await discard(progress: progress)
        } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
            throw await hindrances.blamed(error)
        }
    }

    private func discard(progress: () -> Void) async throws {
        while try await !store.takeRole(on: connection) {
            await hindrances.standBy()
            progress()
            try await sleep(min(configuration.pollPeriod, .seconds(1)))
        }
        hindrances.works()
        health.doing = "discarding"
        // What an earlier one has left there. A required archive's is noted anew.
        if guards.isEmpty { try await store.note(refusal: nil, on: connection) }
        while !Task.isShuttingDownGracefully, !Task.isCancelled {
            try await checkTables()
            var (stream, discarded) = try await store.look(on: connection)
            if let confirmed = stream.confirmed { stream.confirmed = min(confirmed, allowed) }
            switch plan.next(stream, now: .now) {
            case .empty(let segment, let through):
                try await empty(segment, through: through, after: discarded)
            case .delete(let segment, let from, let through, let limit):
                guard try await mayGo(through: through, after: discarded) else { break }
                let isGentle = isGentle
                let start = ContinuousClock.now
                let count = try await store.delete(
                    segment, from: from, through: through, limit: isGentle ? max(1, limit / 8) : limit, on: connection)
                if count == nil { await hindrances.refused() } else { hindrances.works() }
                removed(count ?? 0)
                dead[segment, default: 0] += count ?? 0
                if isGentle { try await sleep(min((.now - start) * 9, .milliseconds(50))) }
            case .rest(let pause):
                try await vacuum()
                try await checkAgain(after: discarded)
                try await heldBack.update(on: connection, isStill: plan.isStill(now: .now))
                report(always: false)
                try await sleep(pause)
            }
            progress()
        }
    }

    /// What a subscription writes meanwhile, or what a policy hides, has not been confirmed by anybody.
    private func checkTables() async throws {
        guard tablesChecked.map({ .now - $0 > .seconds(1) }) ?? true else { return }
        try await info.check(writing: true, on: connection)
        tablesChecked = .now
    }

    private func sleep(_ pause: Duration) async throws {
        try await cancelWhenGracefulShutdown { try await Task.sleep(for: pause) }
    }

    private func empty(_ segment: Int, through: EventID, after discarded: EventID) async throws {
        // Compared before it is counted, which may take a while, and looked at once more after that.
        guard try await mayGo(through: through, after: discarded) else { return }
        let count = try await store.count(segment, on: connection) { took in
            if isGentle { try await sleep(took * 4) }
        }
        guard try await mayGo(through: through, after: discarded) else { return }
        let allowed = guards.isEmpty ? EventID(.max) : through
        guard let refusal = try await store.empty(segment, through: through, allowed: allowed, on: connection) else {
            removed(count)
            dead[segment] = nil
            return
        }
        logger.debug("a segment could not be emptied", metadata: [.segment: "\(segment)", .reason: "\(refusal)"])
        plan.refused(refusal, through: through, now: .now)
    }

    private func removed(_ count: Int) {
        discarded += count
        health.discarded.add(count)
    }

    /// Beside writers in small steps and part of the time: their commits write and flush what deleting logs, too.
    private var isGentle: Bool { !plan.isStill(now: .now) && !plan.isBehind }

    /// Whether every required archive holds what is to go; if not, what it does hold may go.
    private func mayGo(through: EventID, after discarded: EventID) async throws -> Bool {
        var bound = EventID(.max)
        for each in guards {
            let verified = try await each.verify(through: through, after: discarded, active: connection)
            if let seen = each.verified, seen > each.noted {
                try await store.note(verified: seen, by: each.consumer, on: connection)
                each.noted = seen
            }
            bound = min(bound, verified)
        }
        let refusal = guards.compactMap(\.refusal).first
        if !guards.isEmpty, !isNoted || refusal != self.refusal {
            (self.refusal, isNoted) = (refusal, true)
            if let refusal { logger.error("not discarded", metadata: [.reason: "\(refusal)"]) }
            try await store.note(refusal: refusal, on: connection)
        }
        health.keeps(because: refusal, lacksEvents: guards.contains(where: \.lacksEvents))
        allowed = bound < through ? bound : EventID(.max)
        return bound >= through
    }

    /// What was refused before may have been put right.
    private func checkAgain(after discarded: EventID) async throws {
        guard allowed < EventID(.max) else { return }
        _ = try await mayGo(through: allowed.next, after: discarded)
    }

    /// Deleted rows leave room behind that only VACUUM makes usable again; autovacuum may be late.
    private func vacuum() async throws {
        for (segment, count) in dead where count >= DiscarderWork.manyDead {
            dead[segment] = nil
            try await store.vacuum(segment, on: connection)
        }
    }

    private static let manyDead = 20_000

    private func report(always: Bool) {
        let isDue = reported.map { .now - $0 >= .seconds(10) } ?? true
        guard discarded > 0, always || isDue else { return }
        logger.info("discarded", metadata: [.events: "\(discarded)"])
        (discarded, reported) = (0, .now)
    }
}
