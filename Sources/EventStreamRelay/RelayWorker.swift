import EventStream
import EventStreamClient
import EventStreamServer
import Logging

/// Hands the batches of one receiver over, as ``RelayPlan`` decides.
actor RelayWorker {
    /// What all workers of a relay share.
    struct Shared: Sendable {
        let sink: any EventSink
        let gate: RequestGate
        let status: RelayStatus
        let metrics: RelayMetrics
        let logger: Logger
    }

    private enum Input {
        case answered([Int], SinkOutcome)
        case time
        case stop
        /// What is under way has had its time to end.
        case late
    }

    /// What is under way when the relay is told to stop may take so long.
    private static let lastWait = Duration.seconds(1)

    private let shared: Shared
    /// Tells it from other workers.
    private let number: Int
    private var plan: RelayPlan
    private var trouble = TroubleLog()
    private var isStopping = false
    private var input: AsyncStream<Input>.Continuation?
    private var batch: Task<Bool, Never>?

    init(_ number: Int, _ shared: Shared) {
        (self.number, self.shared) = (number, shared)
        plan = RelayPlan(shared.sink.limits)
    }

    func work(on receiver: ReliableReceiver) async {
        guard !isStopping else { return }
        for await batch in receiver.batches {
            // A batch ends in order also where this task is cancelled.
            let task = Task { await self.relay(batch) }
            self.batch = task
            guard await task.value else { break }
        }
        await receiver.stop(within: .zero)
    }

    /// Nothing more is handed over; what is under way ends.
    func stop() {
        isStopping = true
        input?.yield(.stop)
    }

    /// Comes back when no batch is under way.
    func isOver() async { _ = await batch?.value }

    // MARK: A batch

    /// False if told to stop.
    private func relay(_ batch: EventBatch) async -> Bool {
        guard let generation = batch.origin?.generation else {
            await batch.reject(because: "a relay needs a pusher that tells which stream it serves; this pusher is too old")
            return true
        }
        shared.status.serves(generation.stream)
        let events = batch.events.map { CloudEvent(event: $0, generation: generation, isRedelivered: batch.isParked) }
        plan.batchArrived(
            batch.events.map { .init(id: $0.id, key: $0.key, bytes: CloudEvent.size(of: $0)) }, isParked: batch.isParked,
            generation: generation.id)
        let (inputs, input) = AsyncStream.makeStream(of: Input.self)
        self.input = input
        if isStopping { plan.abandon() }
        defer { self.input = nil }
        return await withDiscardingTaskGroup(returning: Bool.self) { group in
            var inputs = inputs.makeAsyncIterator()
            while true {
                switch plan.next(at: .now) {
                case .send(let indices):
                    let events = indices.map { events[$0] }
                    group.addTask { [shared] in input.yield(.answered(indices, await RelayWorker.deliver(events, shared))) }
                case .confirm(let last): await batch.confirm(through: batch.events[last])
                case .finish:
                    await batch.confirm()
                    return true
                case .reject(let index, let reason):
                    await batch.reject(batch.events[index], because: reason)
                    return true
                case .leave:
                    shared.status.trouble(nil, isStanding: false, of: number)
                    guard !isStopping else { return false }
                    await batch.reject(because: "the session has ended")
                    return true
                case .wait(let time):
                    let alarm = time.map { RelayWorker.alarm(at: $0) { input.yield(.time) } }
                    let what = await inputs.next()
                    alarm?.cancel()
                    switch what {
                    case .answered(let indices, let outcome):
                        note(outcome, of: batch.events[indices[0]])
                        plan.answered(indices, outcome, at: .now)
                    case .time:
                        // Who has the consumer now hands its events over.
                        if await !batch.isCurrent { plan.abandon() }
                    case .stop, nil:
                        plan.abandon()
                        _ = RelayWorker.alarm(at: .now + RelayWorker.lastWait) { input.yield(.late) }
                    case .late: group.cancelAll()
                    }
                }
            }
        }
    }

    private static func alarm(at time: MonotonicTime, _ ring: @escaping @Sendable () -> Void) -> Task<Void, Never> {
        Task {
            // One that is cancelled rings too late for anybody.
            try? await Task.sleep(until: time, clock: .continuous)
            if !Task.isCancelled { ring() }
        }
    }

    private static func deliver(_ events: [CloudEvent], _ shared: Shared) async -> SinkOutcome {
        await shared.gate.enter()
        defer { shared.gate.leave() }
        let begun = MonotonicTime.now
        let outcome = await shared.sink.deliver(events)
        shared.metrics.ended(outcome, of: events.count, since: begun)
        return outcome
    }

    // MARK: What is told

    private func note(_ outcome: SinkOutcome, of event: Event) {
        let logger = shared.logger
        switch outcome {
        case .taken:
            shared.status.trouble(nil, isStanding: false, of: number)
            if trouble.isGoodNews() { logger.info("events are taken", metadata: [.endpoint: "\(shared.sink.name)"]) }
        case .again(_, let reason):
            shared.status.trouble("events from \(event.id) on wait: \(reason)", isStanding: false, of: number)
            guard !isStopping, trouble.isNews(reason) else { return }
            logger.warning("not taken; trying again", metadata: [.error: "\(reason)", .event: "\(event.id)"])
        case .refused(let reason):
            shared.status.trouble(nil, isStanding: false, of: number)
            guard trouble.isNews("\(event.id) \(reason)") else { return }
            logger.warning(
                "an event was refused", metadata: [.error: "\(reason)", .event: "\(event.id)", .type: "\(event.type)"])
        case .standStill(let reason):
            shared.status.trouble("the relay stands still: \(reason)", isStanding: true, of: number)
            guard trouble.isNews(reason) else { return }
            logger.error(
                "the relay stands still; trying again once a minute", metadata: [.error: "\(reason)", .event: "\(event.id)"])
        }
    }
}
