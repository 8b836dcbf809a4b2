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
    private let guards: ArchiveGuards
    private let heldBack: HeldBackReport
    private var plan: DiscardPlan
    private let keys: KeyStore
    private var rotation: KeyRotation
    private let hindrances: DiscarderHindrances
    private let health: DiscarderHealth
    private var tablesChecked: ContinuousClock.Instant?
    /// Rows deleted in each segment since it was vacuumed or emptied.
    private var dead: [Int: Int] = [:]

    private init(
        _ configuration: Discarder.Configuration, _ info: StreamInfo, _ connection: Connection, loop: EventLoop,
        health: DiscarderHealth, logger: Logger
    ) {
        (self.configuration, self.info, self.connection) = (configuration, info, connection)
        (self.health, self.logger) = (health, logger)
        let rule = HoldRule(info.tables, required: configuration.required.map(\.consumer), maxLag: configuration.maxLag)
        store = DiscardStore(info, rule: rule)
        hindrances = DiscarderHindrances(info.tables, connection, health: health, logger: logger)
        guards = ArchiveGuards(
            configuration.required.map { ArchiveGuard($0, info, period: configuration.pollPeriod, loop: loop) }, store,
            connection, health: health, logger: logger)
        heldBack = HeldBackReport(
            info, rule, warnEvents: configuration.warnEvents, period: configuration.pollPeriod, logger: logger)
        keys = KeyStore(info.tables, keeping: configuration.idempotencyWindow)
        rotation = KeyRotation(window: configuration.idempotencyWindow)
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
        health.report(always: true, to: logger)
        connection.close()
        guards.close()
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
        try await store.note(required: configuration.required.map(\.consumer), on: connection)
        try await store.note(maxLag: guards.isEmpty ? nil : configuration.maxLag?.text, on: connection)
        while !Task.isShuttingDownGracefully, !Task.isCancelled {
            try await checkTables()
            try await rotateKeys()
            var (stream, discarded) = try await store.look(on: connection)
            stream.confirmed = stream.confirmed.map { min($0, guards.allowed) }
            switch plan.next(stream, now: .now) {
            case .empty(let segment, let through):
                try await empty(segment, through: through, after: discarded)
            case .delete(let segment, let from, let through, let limit):
                guard try await guards.mayGo(through: through, after: discarded) else { break }
                let isGentle = isGentle
                let start = ContinuousClock.now
                let count = try await store.delete(
                    segment, from: from, through: through, limit: isGentle ? max(1, limit / 8) : limit, on: connection)
                if count == nil { await hindrances.refused() } else { hindrances.works() }
                health.removed(count ?? 0)
                dead[segment, default: 0] += count ?? 0
                if isGentle { try await sleep(min((.now - start) * 9, .milliseconds(50))) }
            case .rest(let pause):
                try await vacuum()
                try await guards.checkAgain(after: discarded)
                try await heldBack.update(on: connection, isStill: plan.isStill(now: .now))
                health.report(always: false, to: logger)
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

    private func rotateKeys() async throws {
        guard rotation.isDue(at: .now) else { return }
        let outcome = try await keys.rotate(on: connection)
        rotation.ended(outcome, at: .now)
        switch outcome {
        case .emptied: logger.debug("removed old idempotency keys")
        case .busy:
            guard let time = rotation.overdue(at: .now) else {
                return logger.debug("old idempotency keys are kept: the table is in use")
            }
            logger.warning(
                "old idempotency keys are kept, and their tables grow: at each attempt a transaction that has recorded with an idempotency key was open; let such transactions end sooner",
                metadata: [.seconds: "\(Int(time / .seconds(1)))"])
        case .refused:
            logger.warning("old idempotency keys are kept: the right to remove them is missing; run `evt migrate --roles`")
        case .notYet: break
        }
    }

    private func sleep(_ pause: Duration) async throws {
        try await cancelWhenGracefulShutdown { try await Task.sleep(for: pause) }
    }

    private func empty(_ segment: Int, through: EventID, after discarded: EventID) async throws {
        // Compared before it is counted, which may take a while, and looked at once more after that.
        guard try await guards.mayGo(through: through, after: discarded) else { return }
        let count = try await store.count(segment, on: connection) { took in
            if isGentle { try await sleep(took * 4) }
        }
        guard try await guards.mayGo(through: through, after: discarded) else { return }
        let allowed = guards.isEmpty ? EventID(.max) : through
        guard let refusal = try await store.empty(segment, through: through, allowed: allowed, on: connection) else {
            health.removed(count)
            dead[segment] = nil
            return
        }
        logger.debug("a segment could not be emptied", metadata: [.segment: "\(segment)", .reason: "\(refusal)"])
        plan.refused(refusal, through: through, now: .now)
    }

    /// Beside writers in small steps and part of the time: their commits write and flush what deleting logs, too.
    private var isGentle: Bool { !plan.isStill(now: .now) && !plan.isBehind }

    /// Deleted rows leave room behind that only VACUUM makes usable again; autovacuum may be late.
    private func vacuum() async throws {
        for (segment, count) in dead where count >= DiscarderWork.manyDead {
            dead[segment] = nil
            try await store.vacuum(segment, on: connection)
        }
    }

    private static let manyDead = 20_000
}
