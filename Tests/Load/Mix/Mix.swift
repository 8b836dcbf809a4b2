import EventStream
import EventStreamDatabase
import EventStreamServer
import Foundation
import PosixLoop

/// Writers of every kind of transaction, listeners of every kind, and what came of it.
struct Mix: Sendable {
    let stage: Stage
    let listening: [Listening]
    let writers: Int
    let seconds: Int
    let seed: UInt64
    /// The most that an unrelated transaction may add to the way of an event, in milliseconds. Methods that wait for all
    /// transactions add as long as it is open.
    let delayLimit: Double
    let interruption: Interruption
    let pool = PreparedPool()
    let tally = MixTally()
    let probe = Probe()
    private let home = LoopActor()

    init(
        stage: Stage, listening: [Listening], writers: Int, seconds: Int, seed: UInt64, delayLimit: Double,
        interruption: Interruption
    ) {
        (self.stage, self.listening, self.writers, self.seconds) = (stage, listening, writers, seconds)
        (self.seed, self.delayLimit, self.interruption) = (seed, delayLimit, interruption)
    }

    /// Listens, writes, waits, and holds what came against what was committed.
    func run() async throws -> Verdict {
        let listeners = listening.map { one in
            Task {
                do {
                    try await one.listener.listen(one.recording)
                } catch is CancellationError {
                } catch {
                    print("  \(one.name): \(error)")
                }
            }
        }
        let outcome: Result<Verdict, any Error>
        do {
            try await untilEveryoneListens()
            outcome = .success(try await writeAndCompare())
        } catch {
            outcome = .failure(error)
        }
        for listener in listeners { listener.cancel() }
        for listener in listeners { await listener.value }
        home.loop.stop()
        return try outcome.get()
    }

    private func writeAndCompare() async throws -> Verdict {
        for phase in Phase.allCases where !interruption.endsLoad {
            // Quiet is when nothing of the load is on its way any more.
            if phase == .quiet { try await catchUp() }
            let duration = phase.isQuiet ? Duration.seconds(5) : .seconds(seconds) / 2
            print("\(phase.rawValue): \(phase.isQuiet ? 2 : writers) writers for \(duration.inSeconds) s")
            if phase.hasUnrelatedTransaction {
                try await stage.withUnrelatedTransaction { try await write(phase, for: duration) }
            } else {
                try await write(phase, for: duration)
            }
        }
        print("waiting until the last event has arrived")
        return MixReport(mix: self, truth: try await catchUp()).verdict()
    }

    /// Live sessions and subscriptions begin when they begin; a consumer may still belong to a receiver that was killed.
    private func untilEveryoneListens() async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while let deaf = listening.first(where: { $0.recording.count == 0 }) {
            guard ContinuousClock.now < deadline, !interruption.endsLoad else {
                throw StoreError("\(deaf.name) hears nothing; is a pusher running, and are its settings these?")
            }
            try await stage.rehearse()
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private func write(_ phase: Phase, for duration: Duration) async throws {
        let end = ContinuousClock.now + duration
        let goesOn: @Sendable () -> Bool = { ContinuousClock.now < end && !interruption.endsLoad }
        var kinds = phase.isQuiet ? MixTransaction.Kind.quick : Set(MixTransaction.Kind.allCases)
        if !stage.info.writersMayPrepare { kinds.remove(.prepared) }
        let phaseSeed = seed &+ UInt64(Phase.allCases.firstIndex(of: phase)!) &* 7919
        try await withThrowingTaskGroup { [kinds] group in
            for number in 0..<(phase.isQuiet ? 2 : writers) {
                let plan = MixPlan(seed: phaseSeed, writer: number, kinds: kinds)
                group.addTask {
                    await home.run { loop in
                        let writer = MixWriter(
                            number, url: stage.database.url, info: stage.info, plan: plan, pool: pool, tally: tally, loop: loop)
                        await writer.run(pause: phase.isQuiet ? .milliseconds(10) : .zero, while: goesOn)
                    }
                }
            }
            group.addTask { try await probe.run(phase, stage, while: goesOn) }
            try await group.waitForAll()
        }
    }

    /// Waits until each listener has what is to come, or until none has got anything for a minute.
    @discardableResult
    private func catchUp() async throws -> Truth {
        let truth = try await Truth.read(after: stage.start, stage.info, url: stage.database.url)
        let goals = listening.map { ($0.recording, truth.last($0.wanted)) }
        var (progress, deadline) = (0, ContinuousClock.now)
        while goals.contains(where: { $0.newest < $1 }), !interruption.endsWaiting {
            let count = goals.reduce(0) { $0 + $1.0.count }
            if count > progress { (progress, deadline) = (count, .now + .seconds(60)) }
            guard ContinuousClock.now < deadline else { break }
            try await Task.sleep(for: .milliseconds(20))
        }
        return truth
    }
}
