import EventStream
import PosixLoop

/// Hands the groups of a session out as batches, and answers their calls.
///
/// Belongs to the loop's thread; what order and duplicates need is decided by ``ReceiverProgress``.
final class BatchDriver {
    private let configuration: ReceiverConfiguration
    private let channel: CallChannel
    private let loop: EventLoop
    private let emit: (ReceiverSignal) -> Void
    private var progress: ReceiverProgress
    private var waiter: ((ReceiverProgress.Batch?) -> Void)?
    /// The most groups that were here at the same time in this session: as many as the pusher sends without an answer.
    private var mostGroups = 1
    private var gathering: Timer?
    /// What is to be done when the batch that is out has been reported.
    private var afterBatch: (() -> Void)?

    init(
        _ configuration: ReceiverConfiguration, mayHaveGaps: Bool, channel: CallChannel, loop: EventLoop,
        emit: @escaping (ReceiverSignal) -> Void
    ) {
        (self.configuration, self.channel, self.loop, self.emit) = (configuration, channel, loop, emit)
        progress = ReceiverProgress(processed: configuration.processed, mayHaveGaps: mayHaveGaps)
    }

    // MARK: The session

    func sessionStarted() { progress.sessionStarted() }

    /// Where the database went back, ids that were processed may come again with other events.
    func streamWentBack() { progress.streamWentBack() }

    func received(_ call: OnEvents) throws(EventStreamError) {
        switch progress.arrived(sequence: call.sequence, events: call.events, rid: call.rid) {
        case .kept:
            emit(.newEvents(call.events.count))
            mostGroups = max(mostGroups, progress.waiting + progress.handedOut)
            guard gathering == nil || progress.waiting >= mostGroups else { return }
            handOut()
        case .answerAgain: channel.answer(call.rid, .success(.true))
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
        gathering = loop.schedule(after: configuration.gathering) { [weak self] in self?.handOut() }
    }

    private func handOut() {
        gathering?.cancel()
        gathering = nil
        guard let waiter else { return }
        defer { answer(progress.takeUntrusted(), .failure(.internalError("the session may have begun anew; send it again"))) }
        while let batch = progress.nextBatch(limit: configuration.batchLimit) {
            guard batch.events.isEmpty else {
                self.waiter = nil
                return waiter(batch)
            }
            // Nothing new in it: all was processed in an earlier session.
            answer(progress.succeeded(), .success(.true))
        }
    }

    func succeeded(_ count: Int) {
        answer(progress.succeeded(), .success(.true))
        emit(.processedEvents(count))
        afterBatch?()
    }

    func failed(_ error: EventStreamError, batchOnly: Bool = false) {
        let rids = progress.failed()
        guard !rids.isEmpty || !batchOnly else { return }
        if !batchOnly { emit(.receiverError(error)) }
        answer(rids, .failure(error))
        afterBatch?()
    }

    private func answer(_ rids: [RequestID?], _ outcome: Result<RawJSON, EventStreamError>) {
        for rid in rids { channel.answer(rid, outcome) }
    }

    // MARK: The end

    /// Whether somebody waits for the batch that is out.
    var isAwaited: Bool { afterBatch != nil }

    /// Calls back when the batch that is out has been reported, or has not been in time; at once if none is.
    func whenReported(within timeout: Duration, _ completion: @escaping () -> Void) {
        guard progress.isProcessing else { return completion() }
        var timer: Timer?
        afterBatch = {
            timer?.cancel()
            self.afterBatch = nil
            completion()
        }
        timer = loop.schedule(after: timeout) { [weak self] in self?.afterBatch?() }
    }

    /// Whoever waits for a batch gets none.
    func finish() {
        let waiter = waiter
        self.waiter = nil
        waiter?(nil)
    }
}
