import EventStream

/// Hands the groups of a session out as batches, and answers their calls.
///
/// Belongs to the loop's thread; what order and duplicates need is decided by ``ReceiverProgress``.
final class BatchDriver {
    /// What the batches need of the world.
    struct Ports {
        /// Answers a call of the pusher's.
        let answer: (RequestID?, Result<RawJSON, EventStreamError>) -> Void
        /// Calls back after a while, unless what is returned is called before.
        let schedule: (Duration, @escaping () -> Void) -> () -> Void
        let emit: (ReceiverSignal) -> Void
    }

    private let configuration: ReceiverConfiguration
    private let ports: Ports
    private var progress: ReceiverProgress
    /// Which stream the session's events are of, and what they follow; nil if the server does not tell.
    private(set) var origin: StreamOrigin?
    private var generation: String?
    private var waiter: ((ReceiverProgress.Batch?) -> Void)?
    /// The most groups that were here at the same time in this session: as many as the pusher sends without an answer.
    private var mostGroups = 1
    /// Ends the wait for more groups.
    private var cancelGathering: (() -> Void)?
    /// What is to be done when the batch that is out has been reported.
    private var afterBatch: (() -> Void)?

    init(_ configuration: ReceiverConfiguration, mayHaveGaps: Bool, _ ports: Ports) {
        (self.configuration, self.ports) = (configuration, ports)
        generation = configuration.generation
        progress = ReceiverProgress(processed: configuration.processed, mayHaveGaps: mayHaveGaps)
    }

    // MARK: The session

    /// - Returns: the session's number, another one for each.
    func sessionStarted() -> Int {
        progress.sessionStarted()
        return progress.session
    }

    /// Where the database went back, ids that were processed may come again with other events.
    func follow(_ origin: StreamOrigin?) {
        guard let origin else { return }
        let (old, new) = (generation, origin.generation.id)
        (self.origin, generation) = (origin, new)
        guard let old, old != new else { return }
        progress.streamWentBack()
        ports.emit(.newGeneration(new))
    }

    func received(_ call: OnEvents) throws(EventStreamError) {
        switch progress.arrived(
            sequence: call.sequence, events: call.events, rid: call.rid, session: call.session, isParked: call.isParked)
        {
        case .kept:
            ports.emit(.newEvents(call.events.count))
            mostGroups = max(mostGroups, progress.waiting + progress.handedOut)
            guard cancelGathering == nil || progress.waiting >= mostGroups else { return }
            handOut()
        case .answerAgain: ports.answer(call.rid, .success(.true))
        case .failedBefore: ports.answer(call.rid, .failure(.internalError("the event has failed already")))
        case .refused: throw EventStreamError.invalidRequest("seq \(call.sequence) is too far ahead")
        }
    }

    // MARK: Batches

    /// Waits for the next batch; nil once stopped. A batch not reported yet counts as failed.
    ///
    /// - Parameter isReceiving: whether there is something to wait for, asked when the batch before has been reported.
    func next(isReceiving: () -> Bool, _ completion: @escaping (ReceiverProgress.Batch?) -> Void) {
        failed(.internalError("the group was not confirmed"), batchOnly: true)
        guard afterBatch == nil, isReceiving() else { return completion(nil) }
        waiter?(nil)
        waiter = completion
        // More is on its way, as answers have just been given.
        guard configuration.gathering > .zero, progress.waiting > 0, progress.waiting < mostGroups else { return handOut() }
        cancelGathering = ports.schedule(configuration.gathering) { [weak self] in self?.handOut() }
    }

    private func handOut() {
        cancelGathering?()
        cancelGathering = nil
        // Whether anybody asks for events or not.
        answer(progress.takeProcessed(), .success(.true))
        guard let waiter else { return }
        defer { answer(progress.takeUntrusted(), .failure(.internalError("the session may have begun anew; send it again"))) }
        guard let batch = progress.nextBatch(limit: configuration.batchLimit) else { return }
        self.waiter = nil
        waiter(batch)
    }

    func succeeded(_ count: Int) {
        answer(progress.succeeded() + progress.takeProcessed(), .success(.true))
        ports.emit(.processedEvents(count))
        afterBatch?()
    }

    /// The batch that is out has been processed up to an event; the rest is being processed.
    ///
    /// - Parameter count: how many these are that were not reported before.
    func succeeded(through last: EventID, _ count: Int) {
        answer(progress.succeeded(through: last), .success(.true))
        ports.emit(.processedEvents(count))
    }

    /// An event of the batch that is out could not be processed; those before it have been.
    ///
    /// - Parameter count: how many that are.
    func stopped(at failed: EventID, _ error: EventStreamError, processed count: Int) {
        guard progress.isProcessing else { return }
        let stop = progress.stopped(at: failed)
        ports.emit(.receiverError(error))
        if count > 0 { ports.emit(.processedEvents(count)) }
        answer(stop.processed, .success(.true))
        if let (rid, through, failed) = stop.partly {
            ports.answer(rid, GroupAnswer.partly(through: through, failed: failed, error: error.text).outcome)
        }
        answer(stop.failed, .failure(error))
        afterBatch?()
    }

    func failed(_ error: EventStreamError, batchOnly: Bool = false) {
        let rids = progress.failed()
        guard !rids.isEmpty || !batchOnly else { return }
        if !batchOnly { ports.emit(.receiverError(error)) }
        answer(rids, .failure(error))
        afterBatch?()
    }

    private func answer(_ rids: [RequestID?], _ outcome: Result<RawJSON, EventStreamError>) {
        for rid in rids { ports.answer(rid, outcome) }
    }

    // MARK: The end

    /// Whether somebody waits for the batch that is out.
    var isAwaited: Bool { afterBatch != nil }

    /// Calls back when the batch that is out has been reported, or has not been in time; at once if none is.
    func whenReported(within timeout: Duration, _ completion: @escaping () -> Void) {
        guard progress.isProcessing else { return completion() }
        let cancel = ports.schedule(timeout) { [weak self] in self?.afterBatch?() }
        afterBatch = {
            cancel()
            self.afterBatch = nil
            completion()
        }
    }

    /// Whoever waits for a batch gets none.
    func finish() {
        let waiter = waiter
        self.waiter = nil
        waiter?(nil)
    }
}
